"""Rewriting a damaged shard set without its bad samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cirn_dist.data.shards.check import Bad, check_place
from cirn_dist.data.shards.samples import Entry, LeftOut
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.data.shards.writer import finish, write_shard
from cirn_dist.data.workers.pool import ordered_map
from cirn_dist.errors import DataError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Repaired:
    """The new set, and what it lacks."""

    shards: ShardSet
    left_out: tuple[Bad, ...]


def repair(path: str | Path, out: str | Path, *, workers: int = 1, progress: Progress | None = None) -> Repaired:
    """Write the whole samples of the set at `path`, byte for byte, to the new folder `out`.

    Args:
        path: the damaged set; it is not changed.
        out: the new set's folder.
        workers: processes.
        progress: called with (samples done, samples in all).

    Raises:
        DataError: no complete set at `path`, something already at `out`, no whole sample, no space.
    """
    path, out = Path(path), Path(out)
    damaged = ShardSet.open(path, check=False)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("not an empty folder", where=out, fix="give a new one")
    places = [(path, i) for i in range(len(damaged))]
    left_out: list[Bad] = []

    def checked() -> Iterator[Entry | LeftOut]:
        for done, result in enumerate(ordered_map(check_place, places, workers), start=1):
            if isinstance(result, Bad):
                left_out.append(result)
                yield LeftOut(str(result), result.reason)
            else:
                yield result
            if progress:
                progress(done, len(damaged))

    results = checked()
    stems = [shard["name"].removesuffix(".tar") for shard in damaged.shards]
    for stem, size in zip(stems, damaged.shard_sizes, strict=True):
        write_shard(out, stem, islice(results, size))
    made = {**damaged.meta["made"], "repaired_from": damaged.fingerprint}
    whole = finish(out, stems, name=damaged.name, label_space=damaged.label_space, made=made)
    return Repaired(whole, tuple(left_out))
