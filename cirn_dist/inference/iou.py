"""Intersection over union, from counts of pixels by (true class, predicted class)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cirn_dist.data.labels import IGNORE
from cirn_dist.data.loading.images import label_of, read_images
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.inference.logits import label_map
from cirn_dist.rundir.results import Scores

Confusion = npt.NDArray[np.int64]


def count(
    logits: Callable[[Tensor], Tensor],
    labelled: ShardSet,
    groups: Iterable[Sequence[int]],
    *,
    classes: int,
    batch: int,
    device: torch.device,
    table: npt.NDArray[np.uint8] | None = None,
    each: Callable[[int, Confusion], None] | None = None,
) -> Confusion:
    """Return the confusion matrix, (C, C), of the images at `groups` of places, each at its label's own size.

    Args:
        logits: images (N, 3, H, W) in [-1, 1] -> logits (N, C, H, W).
        table: (256,), from the set's train ids to the network's; None where they are the same.
        each: is given every image's place in the set and its own matrix.

    Raises:
        CorruptSample: an image or label that cannot be decoded, or does not fit.
    """
    total = np.zeros((classes, classes), np.int64)
    for indices in groups:
        for images in read_images(labelled, indices, batch, device):
            for at, one in enumerate(logits(images.pixels)):
                label = label_of(images, at, table)
                of_image = confusion(label_map(one, label.shape), label, classes)
                total += of_image
                if each is not None:
                    each(images.indices[at], of_image)
    return total


def pixel_accuracy(counts: Confusion) -> float | None:
    """Return the share of labelled pixels whose class is right; None where none is labelled."""
    every = int(counts.sum())
    return float(np.trace(counts)) / every if every else None


def confusion(predicted: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8], classes: int) -> Confusion:
    """Count pixels by (true class, predicted class), (C, C); pixels labelled 255 do not count."""
    counted = label != IGNORE
    pairs = label[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def scores(counts: Confusion, subsets: Mapping[str, Sequence[int]] | None = None) -> Scores:
    """Return IoU = TP / (TP + FP + FN) per class, and its mean; a class that is neither there nor predicted
    has none and does not count in the mean.

    Args:
        subsets: named classes to average over as well. Pixels of the other classes still count as errors (BDL's
            protocol for SYNTHIA); a run whose own label space lacks those classes ignores them (MaxSquare's).
    """
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    iou = tuple(float(hit / every) if every else None for hit, every in zip(hits, union, strict=True))
    of_subsets = {name: _mean([iou[c] for c in classes]) for name, classes in (subsets or {}).items()}
    return Scores(miou=_mean(iou), iou=iou, subsets=of_subsets)


def _mean(iou: Sequence[float | None]) -> float | None:
    present = [value for value in iou if value is not None]
    return sum(present) / len(present) if present else None
