"""Confidences counted in bins, so that a threshold over a whole set needs no sorting of all its pixels.

The lineage keeps every pixel's confidence of the data set in memory (23 GiB for Cityscapes). Integer counts add up over
ranks. What counts is how little a confidence lacks of 1: of a well trained network half of the road lacks less than a
4,096th, and bins of equal width would put it all in the last one, which a threshold keeps or drops as a whole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_FINE = 256  # bins for each halving of what is lacking
_HALVINGS = 25  # float32 ends at 2^-24 below 1; 1 itself has the last bin
BINS = _HALVINGS * _FINE + 1


def _edges() -> npt.NDArray[np.float64]:
    halvings, part = np.divmod(np.arange(BINS), _FINE)
    lacking = 2.0**-halvings * (1 - part / (2 * _FINE))
    return np.ceil((1 - lacking) * 2.0**24) / 2.0**24  # float32 has these, so that comparing in it is exact


EDGES = _edges()  # each bin's least confidence, (BINS,)


def bins_of(confidence: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the bin of each confidence in [0, 1]: the last whose edge is not above it."""
    lacking = np.maximum(1 - np.asarray(confidence, np.float64), 2.0**-_HALVINGS)
    digits, exponent = np.frexp(lacking)
    found = _FINE * (2 - exponent) - np.ceil(2 * _FINE * digits)
    return np.asarray(found, np.int64)


def confidence_histogram(
    classes: npt.NDArray[np.uint8], confidence: npt.NDArray[np.float32], num_classes: int
) -> Counts:
    """Count pixels by predicted class and the confidence's bin, (C, BINS)."""
    flat = classes.astype(np.int64) * BINS + bins_of(confidence)
    return np.bincount(flat.ravel(), minlength=num_classes * BINS).reshape(num_classes, BINS)
