"""Shard sets made from another one, by all ranks: the CIR and the pseudo labels."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.shards.samples import Entry, entry
from cirn_dist.data.shards.shardset import INDEX, ShardSet
from cirn_dist.data.shards.tars import samples_in
from cirn_dist.data.shards.writer import finish, finished, write_shard
from cirn_dist.data.workers.threads import map_ahead
from cirn_dist.engine.run import Run
from cirn_dist.engine.shared_files import await_files, seen
from cirn_dist.errors import DataError
from cirn_dist.files import digest
from cirn_dist.stages.images import each_ranks_groups
from cirn_dist.stages.pieces import in_pieces, pieces_of
from cirn_dist.stages.shared import take_set

log = logging.getLogger(__name__)

Encode = Callable[[], Entry]  # what is left to do of a sample: encode it
Samples = Callable[[range], Iterable[Encode]]
_PIECES = "pieces"
_ENCODING = 8  # samples that threads may be encoding while the network makes the next


def derive_set(
    run: Run,
    stage: str,
    parent: ShardSet,
    samples: Samples,
    *,
    batch: int,
    label_space: LabelSpace | None,
    made: dict[str, str],
) -> ShardSet:
    """Write `runs/NAME/STAGE/shards` with the parent's shards, each holding what `samples` gives for its indices.

    Each rank writes every R-th shard, so the set is the same on any number of ranks; a shard that is already there
    is kept, so a killed run goes on where it was. Where whole shards would leave ranks waiting for each other, the
    samples are made in pieces of a shard first, which the shards are then put together from: the same bytes.

    Args:
        samples: indices within one of the parent's shards, at most a piece of them -> each sample of the new one, in
            order, still to be encoded: threads do that while the next are made.
        batch: how many samples are made at once; a piece is whole batches.
        made: what the set depends on beside its parent; a set made from anything else is made anew.
    """
    folder = run.stage_folder(stage) / "shards"
    existing = derived_set(run, stage, parent, made)
    if existing is not None:
        return existing
    made = made | {"parent": parent.fingerprint}
    token, sizes = digest(made), parent.shard_sizes
    stems = [Path(shard["name"]).stem for shard in parent.shards]

    def unfinished() -> list[int]:
        return [shard for shard, stem in enumerate(stems) if finished(folder, stem, token) is None]

    # Looked at once: a rank that looked for itself, later, might see what another has done since.
    left = run.runtime.on_main(unfinished)
    pieces = {shard: pieces_of(sum(sizes[:shard]), sizes[shard], batch) for shard in left}
    work = _Work(run, samples, token, len(parent), len(parent) - sum(sizes[shard] for shard in left))
    run.work(work.before)
    run.progress.start(stage, len(parent), work.before, unit="images")
    if in_pieces([sizes[shard] for shard in left], batch, run.runtime.world):
        for piece in each_ranks_groups(run, [piece for shard in left for piece in pieces[shard]], stage):
            work.write(folder / _PIECES, _named(piece), work.encoded([piece]))
        for shard in each_ranks_groups(run, left, stage):
            work.write(folder, stems[shard], work.joined(folder / _PIECES, pieces[shard]))
    else:
        for shard in each_ranks_groups(run, left, stage):
            work.write(folder, stems[shard], work.encoded(pieces[shard]))

    def conclude() -> str:
        _await(folder, stems, token)
        made_set = finish(folder, stems, name=stage, label_space=label_space, made=made, token=token)
        shutil.rmtree(folder / _PIECES, ignore_errors=True)
        return made_set.fingerprint

    run.runtime.on_main(conclude)
    run.record(lambda recorder: recorder.reached(len(parent)))
    return _opened(run, folder, stems)


@dataclass
class _Work:
    """What a rank does of a derived set, and how far it is."""

    run: Run
    samples: Samples
    token: str
    total: int
    before: int
    done: int = 0

    def write(self, folder: Path, stem: str, entries: Iterable[Entry]) -> None:
        """Write a tar; not at all if the run is to stop: the ranks agree on that once each has put its tar away."""
        with contextlib.suppress(_Abandoned):
            write_shard(folder, stem, entries, token=self.token)

    def encoded(self, pieces: Iterable[range]) -> Iterator[Entry]:
        """Yield the samples of some pieces."""
        jobs = (job for piece in pieces for job in self.samples(piece))
        for sample in map_ahead(lambda job: job(), jobs, threads=2, ahead=_ENCODING):
            if self.run.stop:
                raise _Abandoned
            yield sample
            self.done += 1
            self.run.progress.update(min(self.total, self.before + self.done * self.run.runtime.world))

    def joined(self, folder: Path, pieces: Sequence[range]) -> Iterator[Entry]:
        """Yield the samples of pieces that lie in a folder, most of them other ranks'."""
        names = [_named(piece) for piece in pieces]
        _await(folder, names, self.token)
        written = (sample for name in names for sample in samples_in(folder / f"{name}.tar"))
        yield from map_ahead(lambda sample: entry(*sample), written, threads=2, ahead=_ENCODING)


class _Abandoned(Exception):
    """A tar that was being written when this rank was asked to stop."""


def _named(piece: range) -> str:
    return f"{piece.start}-{piece.stop}"


def _await(folder: Path, stems: Sequence[str], token: str) -> None:
    for stem in stems:
        seen(partial(finished, folder, stem, token), folder / f"{stem}.tar")


def derived_set(run: Run, stage: str, parent: ShardSet, made: dict[str, str]) -> ShardSet | None:
    """Return the set `derive_set` has written of the same things, None on every rank where there is none."""
    folder = run.stage_folder(stage) / "shards"
    wanted = made | {"parent": parent.fingerprint}

    def there() -> bool:
        if not _is_made_with(folder, wanted):
            return take_set(run, stage, wanted)
        shutil.rmtree(folder / _PIECES, ignore_errors=True)  # of a run that was killed before it had removed them
        return True

    if not run.runtime.on_main(there):
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
