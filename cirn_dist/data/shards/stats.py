"""What a shard set says of its pixels: class counts, mean and standard deviation, from exact integer sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cirn_dist.data.labels import UInt8Array


@dataclass(frozen=True)
class Stats:
    """Sums over images; integers, so that adding them in any order or grouping gives the same set, byte for byte.

    Args:
        pixels: number of image pixels.
        sums: per channel, of values 0 to 255.
        squares: per channel, of squared values.
        class_pixels: label pixels per train id, shape (256,) as a list; empty without labels.
    """

    pixels: int = 0
    sums: tuple[int, ...] = (0, 0, 0)
    squares: tuple[int, ...] = (0, 0, 0)
    class_pixels: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Describe in JSON."""
        lists = {name: list(getattr(self, name)) for name in ("sums", "squares", "class_pixels")}
        return {"pixels": self.pixels, **lists}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Stats:
        """Rebuild from JSON."""
        return cls(content["pixels"], *(tuple(content[name]) for name in ("sums", "squares", "class_pixels")))

    @property
    def mean(self) -> list[float]:
        """Mean per channel, in [0, 1]."""
        return [value / self.pixels / 255 for value in self.sums] if self.pixels else []

    @property
    def std(self) -> list[float]:
        """Standard deviation per channel, in [0, 1]."""
        if not self.pixels:
            return []
        variances = [
            max(square * self.pixels - value * value, 0) / self.pixels**2
            for value, square in zip(self.sums, self.squares, strict=True)
        ]
        return [variance**0.5 / 255 for variance in variances]


def measure(image: UInt8Array, label: UInt8Array | None) -> Stats:
    """Count one sample: image (H, W, 3), label (h, w)."""
    histograms = [np.bincount(image[:, :, channel].ravel(), minlength=256) for channel in range(3)]
    values = np.arange(256)
    return Stats(
        image.shape[0] * image.shape[1],
        tuple(int(histogram @ values) for histogram in histograms),
        tuple(int(histogram @ values**2) for histogram in histograms),
        () if label is None else tuple(np.bincount(label.ravel(), minlength=256).tolist()),
    )


def total(parts: Iterable[Stats]) -> Stats:
    """Add up."""
    parts = list(parts)
    counts = [part.class_pixels for part in parts if part.class_pixels]
    return Stats(
        sum(part.pixels for part in parts),
        tuple(sum(part.sums[channel] for part in parts) for channel in range(3)),
        tuple(sum(part.squares[channel] for part in parts) for channel in range(3)),
        tuple(sum(column) for column in zip(*counts, strict=True)),
    )
