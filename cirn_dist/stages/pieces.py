"""How a set's shards are dealt to ranks: whole, or in pieces where whole ones would leave ranks waiting."""

from __future__ import annotations

from collections.abc import Sequence

_PIECE = 8  # images: seconds of a GPU's work, and three small files of a shared file system
_GAIN = 1.25  # putting shards together from pieces costs reading and writing them once more


def pieces_of(start: int, size: int, batch: int) -> list[range]:
    """Cut a shard's indices, range(start, start + size), into pieces of whole batches."""
    length = -(-_PIECE // batch) * batch
    return [range(at, min(at + length, start + size)) for at in range(start, start + size, length)]


def longest(sizes: Sequence[int], world: int) -> int:
    """Return the images that ranks wait for when each takes every R-th part and all go on together, lap by lap."""
    return sum(max(sizes[lap : lap + world]) for lap in range(0, len(sizes), world))


def in_pieces(sizes: Sequence[int], batch: int, world: int) -> bool:
    """Whether shards of these sizes are done a good deal sooner by so many ranks if their pieces are dealt."""
    if world == 1 or not sizes:
        return False
    pieces = [len(piece) for size in sizes for piece in pieces_of(0, size, batch)]
    return longest(sizes, world) > _GAIN * longest(pieces, world)
