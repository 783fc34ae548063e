"""Intersection over union, from counts of pixels by (true class, predicted class)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cirn_dist.data.labels import IGNORE
from cirn_dist.rundir.results import Scores

Confusion = npt.NDArray[np.int64]


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
