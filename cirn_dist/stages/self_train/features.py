"""DAFormer's feature distance: what the initial backbone knows of things is not to be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cirn_dist import losses
from cirn_dist.data.labels import IGNORE
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch
from cirn_dist.inference.network import for_inference
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.rundir.parents import FEATURES
from cirn_dist.stages.segmenter import build_segmenter


def initial_features(run: Run, parents: dict[str, str]) -> Callable[[SegOutput, Batch], Tensor]:
    """Return the weighted distance of a prediction's features on a labelled domain from the initial backbone's.

    The backbone is built again from `model.weights` at every start, and is no part of a checkpoint; a file of weights
    is one of the stage's parents, so that another is refused.
    """
    settings = run.config.self_train.online.feature_distance
    classes = run.labels.ids(settings.classes, "self_train.online.feature_distance.classes")
    weights = run.config.model.weights
    initial = build_segmenter(run, with_acm=False, pretrained=weights is not None)
    for_inference(initial, run.runtime.device).to(run.runtime.dtype)
    if weights not in (None, "imagenet"):
        parents[FEATURES] = str(Path(str(weights)).absolute())

    def distance(output: SegOutput, images: Batch) -> Tensor:
        assert output.deep is not None
        with torch.no_grad():
            before = initial.deep(images["image"])
        height, width = initial.padded_size(images["image"])
        labels = images["label"]
        beyond = (0, width - labels.shape[-1], 0, height - labels.shape[-2])
        labels = F.pad(labels, beyond, value=IGNORE)
        return settings.weight * losses.feature_distance(
            output.deep, before, labels, classes, min_share=settings.min_share
        )

    return distance
