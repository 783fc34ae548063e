"""Running an image network tile by tile, for images that do not fit the memory whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

SMALLEST_TILE = 64
_ALIGNMENT = 4  # a generator halves twice: tiles begin where its grid does


def tiled(network: Callable[[Tensor], Tensor], images: Tensor, tile: int | tuple[int, int]) -> Tensor:
    """Run a network on overlapping tiles of `images`, (N, 3, H, W), and blend what they give, linearly.

    A quarter of a tile overlaps its neighbour; three eighths of that, next to its edge, are not used: there the
    network sees its own padding instead of the neighbour. Images no larger than a tile are run whole.

    The result equals the whole image's only where each output depends on nothing beyond that margin. Instance
    normalisation does: its mean and variance are those of the tile, so tiles of other content get another look
    (sky alone, road alone). Whole images are the faithful way; tiles are for those that cannot be.

    Args:
        network: images (N, 3, h, w) -> (N, C, h, w).
        tile: height and width of a tile in pixels, at least SMALLEST_TILE each; one number for both.
    """
    height, width = images.shape[-2:]
    high, wide = (tile, tile) if isinstance(tile, int) else tile
    if height <= high and width <= wide:
        return network(images)
    total: Tensor | float = 0.0
    weights = images.new_zeros(height, width, dtype=torch.float32)
    for top, bottom in _spans(height, high):
        for left, right in _spans(width, wide):
            weight = _ramp(top, bottom, height, high)[:, None] * _ramp(left, right, width, wide)
            weight = weight.to(images.device)
            part = network(images[..., top:bottom, left:right]).float() * weight
            total = total + pad(part, (left, width - right, top, height - bottom))
            weights[top:bottom, left:right] += weight
    return total / weights


def _spans(length: int, tile: int) -> list[tuple[int, int]]:
    """Return the tiles along one side, a quarter of a tile overlapping; the last reaches the end."""
    if length <= tile:
        return [(0, length)]
    last = (length - tile) // _ALIGNMENT * _ALIGNMENT
    step = (tile - _overlap(tile)) // _ALIGNMENT * _ALIGNMENT
    starts = [*range(0, last, step), last]
    return [(start, length if start == last else start + tile) for start in starts]


def _ramp(start: int, end: int, length: int, tile: int) -> Tensor:
    """Return a tile's weights along one side: 0 in the margin of an inner edge, then rising to 1."""
    overlap = _overlap(tile)
    margin = 3 * overlap // 8
    at = torch.arange(end - start, dtype=torch.float32) + 0.5
    from_start = at if start > 0 else torch.full_like(at, float(tile))
    from_end = at.flip(0) if end < length else torch.full_like(at, float(tile))
    return ((torch.minimum(from_start, from_end) - margin) / (overlap - 2 * margin)).clamp(0, 1)


def _overlap(tile: int) -> int:
    return tile // 4
