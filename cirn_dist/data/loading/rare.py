"""Rare class sampling (Hoyer et al. 2022, DAFormer): images are drawn by a class, and rare classes more often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cirn_dist.errors import ConfigError
from cirn_dist.seeds import uniforms

Counts = npt.NDArray[np.uint32]


class RareClasses:
    """Which sample the counter k reads, and for which class: a pure function of (seed, name, k).

    A class is drawn with probability softmax((1 - f) / T), f its share of all pixels, among those that occur; then an
    image of those with more than `min_pixels` of it, each as likely. Images come from all over the set: a window of
    shards does not hold them.

    Args:
        counts: pixels of each class in each sample, (samples, classes).
        names: of the classes, for errors.
        temperature: T; the smaller, the more often the rarest are drawn.

    Raises:
        ConfigError: no image has enough of a class that occurs; names it.
    """

    def __init__(
        self, counts: Counts, names: Sequence[str], *, temperature: float, min_pixels: int, seed: int, name: str
    ) -> None:
        self.seed, self.name = seed, name
        totals = counts.sum(axis=0, dtype=np.int64)
        self.classes: list[int] = np.flatnonzero(totals).tolist()
        self.probabilities = probabilities(totals[self.classes], temperature)
        self.images = [np.flatnonzero(counts[:, c] > min_pixels) for c in self.classes]
        for c, images in zip(self.classes, self.images, strict=True):
            if not len(images):
                most = int(counts[:, c].max())
                what = f"no image has more than {min_pixels:,} pixels of {names[c]}; the most are {most:,}"
                where = "self_train.online.rare_classes.min_pixels"
                raise ConfigError(what, where=where, fix=f"set it below {most:,}")
        self._ends = np.cumsum(self.probabilities)

    def draw(self, k: int) -> tuple[int, int]:
        """Return the sample read at counter k and the class it is drawn for."""
        by_class, by_image = uniforms(2, self.seed, self.name, "rare", k)
        place = min(int(np.searchsorted(self._ends, by_class, side="right")), len(self.classes) - 1)
        images = self.images[place]
        return int(images[int(by_image * len(images))]), self.classes[place]


def probabilities(pixels: npt.NDArray[np.int64], temperature: float) -> npt.NDArray[np.float64]:
    """Return each class's probability, softmax((1 - f) / T), from the pixels of classes that occur."""
    scores = (1 - pixels / pixels.sum()) / temperature
    weights = np.exp(scores - scores.max())
    found: npt.NDArray[np.float64] = weights / weights.sum()
    return found
