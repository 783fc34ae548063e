"""Shard sets made from another one, shard by shard, by all ranks: the CIR and the pseudo labels."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.shards.shardset import INDEX, Sample, ShardSet
from cirn_dist.data.shards.writer import finish, finished, write_shard
from cirn_dist.engine.run import Run
from cirn_dist.engine.shared_files import await_files, seen
from cirn_dist.errors import DataError
from cirn_dist.files import digest
from cirn_dist.stages.images import each_ranks_groups
from cirn_dist.stages.shared import take_set

log = logging.getLogger(__name__)

Samples = Callable[[range], Iterable[tuple[str, Sample]]]


def derive_set(
    run: Run,
    stage: str,
    parent: ShardSet,
    samples: Samples,
    *,
    label_space: LabelSpace | None,
    made: dict[str, str],
) -> ShardSet:
    """Write `runs/NAME/STAGE/shards` with the parent's shards, each holding what `samples` gives for its indices.

    Each rank writes every R-th shard, so the set is the same on any number of ranks; a shard that is already there
    is kept, so a killed run goes on where it was.

    Args:
        samples: the parent's indices of one shard -> (key, sample) of the new one, in order.
        made: what the set depends on beside its parent; a set made from anything else is made anew.
    """
    folder = run.stage_folder(stage) / "shards"
    existing = derived_set(run, stage, parent, made)
    if existing is not None:
        return existing
    made = made | {"parent": parent.fingerprint}
    token = digest(made)
    stems = [Path(shard["name"]).stem for shard in parent.shards]
    starts = [sum(parent.shard_sizes[:shard]) for shard in range(len(stems))]
    left = [size for stem, size in zip(stems, parent.shard_sizes, strict=True) if finished(folder, stem, token) is None]
    before, done = len(parent) - sum(left), 0
    run.work(before)
    run.progress.start(stage, len(parent), before, unit="images")

    def counted(indices: range) -> Iterator[tuple[str, Sample]]:
        nonlocal done
        for sample in samples(indices):
            if run.stop:
                raise _Abandoned
            yield sample
            done += 1
            run.progress.update(min(len(parent), before + done * run.runtime.world))

    for (shard,) in each_ranks_groups(run, [(shard,) for shard in range(len(stems))], stage):
        size = parent.shard_sizes[shard]
        with contextlib.suppress(_Abandoned):  # the ranks agree on the stop once each has put its shard away
            write_shard(folder, stems[shard], counted(range(starts[shard], starts[shard] + size)), token=token)

    def conclude() -> str:
        for stem in stems:  # most of them are other ranks'
            seen(partial(finished, folder, stem, token), folder / f"{stem}.tar")
        return finish(folder, stems, name=stage, label_space=label_space, made=made, token=token).fingerprint

    run.runtime.on_main(conclude)
    run.record(lambda recorder: recorder.reached(len(parent)))
    return _opened(run, folder, stems)


class _Abandoned(Exception):
    """A shard that was being written when this rank was asked to stop."""


def derived_set(run: Run, stage: str, parent: ShardSet, made: dict[str, str]) -> ShardSet | None:
    """Return the set `derive_set` has written of the same things, None on every rank where there is none."""
    folder = run.stage_folder(stage) / "shards"
    wanted = made | {"parent": parent.fingerprint}
    if not run.runtime.on_main(lambda: _is_made_with(folder, wanted) or take_set(run, stage, wanted)):
        return None
    return _opened(run, folder, [Path(shard["name"]).stem for shard in parent.shards])


def _is_made_with(folder: Path, wanted: dict[str, str]) -> bool:
    if not (folder / INDEX).is_file():
        return False
    try:
        return ShardSet.open(folder).meta.get("made") == wanted
    except DataError as error:
        log.warning("%s; the set is made again", error)
        (folder / INDEX).unlink()  # what is damaged is not a set
        return False


def _opened(run: Run, folder: Path, stems: Sequence[str]) -> ShardSet:
    await_files(run.runtime, [folder / INDEX, *(folder / f"{stem}.tar" for stem in stems)])
    return ShardSet.open(folder)
