"""Reading a whole shard set again and naming everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cirn_dist.data.shards.check import Bad, check_sample, opened
from cirn_dist.data.shards.shardset import ShardSet, index_name
from cirn_dist.data.workers.pool import ordered_map
from cirn_dist.files import file_sha256

Progress = Callable[[int, int], None]
_BLOCK = 64


@dataclass(frozen=True)
class Verified:
    """What was found.

    Args:
        samples: how many were read.
        bad: bad samples, and shards whose files differ from what was written.
    """

    samples: int
    bad: tuple[Bad, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.bad


def verify(path: str | Path, *, workers: int = 1, progress: Progress | None = None) -> Verified:
    """Read every byte of a shard set, decode every sample, compare every sum.

    Args:
        path: the set's folder.
        workers: processes.
        progress: called with (samples done, samples in all).

    Raises:
        DataError: no complete set there, or its index.json is damaged.
    """
    path = Path(path)
    shards = ShardSet.open(path, check=False)
    done, bad = 0, []
    for count, found in ordered_map(_check_block, _blocks(path, shards), workers):
        done += count
        bad += found
        if progress:
            progress(done, len(shards))
    return Verified(done, tuple(bad))


@dataclass(frozen=True)
class _Block:
    path: Path
    shard: int
    first: int
    last: int
    hashed: bool


def _blocks(path: Path, shards: ShardSet) -> list[_Block]:
    blocks, start = [], 0
    for number, size in enumerate(shards.shard_sizes):
        for first in range(0, size, _BLOCK):
            blocks.append(_Block(path, number, start + first, start + min(first + _BLOCK, size), first == 0))
        start += size
    return blocks


def _check_block(block: _Block) -> tuple[int, list[Bad]]:
    shards = opened(block.path)
    shard = shards.shards[block.shard]
    missing = [name for name in (shard["name"], index_name(shard["name"])) if not (block.path / name).is_file()]
    bad = [Bad(name, "", "", "missing") for name in missing] if block.hashed else []
    if missing:
        return block.last - block.first, bad
    found = [sample for i in range(block.first, block.last) if isinstance(sample := check_sample(shards, i), Bad)]
    if block.hashed:
        bad += _hashes(block.path, shard)
    return block.last - block.first, bad + found


def _hashes(path: Path, shard: dict[str, str]) -> list[Bad]:
    """Compare whole files: a flipped bit in a tar header is in no member's crc."""
    expected = {shard["name"]: shard["sha256"], index_name(shard["name"]): shard["idx_sha256"]}
    reason = "the file differs from what was written (sha256)"
    return [Bad(name, "", "", reason) for name, sha256 in expected.items() if file_sha256(path / name) != sha256]
