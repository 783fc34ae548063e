"""Scoring a stage on the target's labelled images: per-class and mean intersection over union."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from cirn_dist.data.loading.images import batches
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.inference.adabn import adabn as renormalised
from cirn_dist.inference.adabn import adabn_groups
from cirn_dist.inference.iou import Confusion, pixel_accuracy, scores
from cirn_dist.inference.iou import count as count_of
from cirn_dist.inference.logits import predict
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.ensemble import Ensemble
from cirn_dist.rundir.results import Scores
from cirn_dist.stages.images import each_ranks_groups, relabelling


def evaluate(run: Run, segmenter: Segmenter, labelled: ShardSet, pause: str | None = None) -> Scores:
    """Score a segmenter on every labelled image, once, at the label's own size (the lineage's protocol).

    Args:
        pause: what is being scored, where the run may be stopped while it is.
    """
    return scores(count(run, segmenter, labelled, pause), run.labels.subsets)


def count(
    run: Run,
    segmenter: Segmenter,
    labelled: ShardSet,
    pause: str | None = None,
    accuracy: dict[int, float | None] | None = None,
) -> Confusion:
    """Return the confusion matrix of a whole set, (C, C), on every rank; no image is repeated to even ranks out.

    Each rank takes every R-th batch, and counts are integers: they are the same on any number of ranks.

    Args:
        accuracy: is given every image's pixel accuracy, by its place in the set.
    """
    runtime, size = run.runtime, run.config.evaluate.batch
    segmenter.eval()
    own: dict[int, float | None] = {}

    def keep(place: int, counts: Confusion) -> None:
        own[place] = pixel_accuracy(counts)

    total = count_of(
        partial(run_logits, run, segmenter),
        labelled,
        each_ranks_groups(run, batches(labelled, size), pause),
        classes=run.labels.num_classes,
        batch=size,
        device=runtime.device,
        table=relabelling(run, labelled, "target"),
        each=keep,
    )
    if accuracy is not None:
        for part in runtime.gather(own):
            accuracy.update(part)
    counts: Confusion = runtime.sum(torch.from_numpy(total)).cpu().numpy()
    return counts


def run_logits(run: Run, segmenter: Segmenter | Ensemble, pixels: Tensor) -> Tensor:
    """Return the logits by the run's `evaluate.scales` and `evaluate.flip`, (N, C, H, W) at the input's size."""
    settings = run.config.evaluate
    return predict(segmenter, pixels, scales=settings.scales, flip=settings.flip, autocast=run.runtime.autocast())


def adabn(run: Run, segmenter: Segmenter, target: ShardSet) -> Segmenter:
    """Return the segmenter with the BatchNorm statistics of unlabelled target images (Li et al. 2016, AdaBN).

    The baseline every adaptation method must beat: it trains nothing. Whole groups are dealt to ranks, so that the same
    images share a batch on any number of them.
    """
    settings = run.config.evaluate
    groups = each_ranks_groups(run, adabn_groups(target, settings, run.config.seed), "scoring with AdaBN")
    return renormalised(segmenter, target, groups, batch=settings.batch, device=run.runtime.device)
