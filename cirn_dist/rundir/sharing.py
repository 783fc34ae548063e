"""Finished stages of other runs, taken where all that makes them is the same: the points of a sweep share them.

A stage is the same where the settings it sees, its shard sets, the checkpoints it starts from, the code, the precision
and the division of a step over ranks are. Weights and shards are linked, the rest is copied; a run stays whole when
another is removed.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from cirn_dist.checkpoint.store import UNFINISHED, Store
from cirn_dist.data.shards.shardset import INDEX
from cirn_dist.errors import CirnError
from cirn_dist.files import digest, read_json, write_json
from cirn_dist.rundir.made import FILE_NAME as MADE
from cirn_dist.rundir.made import Circumstances, Made, read_made
from cirn_dist.rundir.parents import origins
from cirn_dist.rundir.turns import turn

_LINKED = (".safetensors", ".tar")  # replaced in one piece and never written to; everything else is copied
_LOOK_EVERY = 5.0  # seconds between two looks through all runs


@dataclass(frozen=True)
class Wanted:
    """A stage as this run would make it.

    Attributes:
        settings: those that its outcome depends on, by dotted key.
        data: stream -> fingerprint of its shard set.
        by: the code and how it would be executed.
    """

    stage: str
    settings: Mapping[str, Any]
    data: Mapping[str, str]
    by: Circumstances

    @property
    def key(self) -> str:
        """A name that runs which want the same stage give it."""
        return f"{self.stage}-{digest([self.settings, self.data])[:16]}"


@contextmanager
def taking_turns(runs: Path, own: Path, wanted: Wanted, waiting: Callable[[str], None]) -> Iterator[Path | None]:
    """Yield the run whose stage this one has been given, or None: it is to be made, while others that want it wait.

    Args:
        runs: the folder of the runs that share; own: this run's.
        waiting: called again and again while another run makes it, with the word of who; may raise.
    """
    looked, found = -math.inf, None

    def made() -> bool:
        nonlocal looked, found
        if time.monotonic() - looked > _LOOK_EVERY:
            found, looked = find(runs, own, wanted), time.monotonic()
        return found is not None

    with turn(runs / ".locks" / wanted.key, made, waiting):
        found = found or find(runs, own, wanted)  # another may have made it just before it was this one's turn
        if found is not None:
            take(found, own, wanted.stage)
        yield found


def find(runs: Path, own: Path, wanted: Wanted) -> Path | None:
    """Return a run that has finished the same stage."""
    return next((run for run in _others(runs, own) if _is_same(run, own, wanted)), None)


def find_set(runs: Path, own: Path, stage: str, made: Mapping[str, str], by: Circumstances) -> Path | None:
    """Return a run that has a shard set of a stage that was made of the same things by the same code."""
    for run in _others(runs, own):
        index = run / stage / "shards" / INDEX
        try:
            if index.is_file() and read_json(index).get("made") == made and _is_made_by(read_made(run / stage), by):
                return run
        except CirnError:  # damaged, or gone by now: not one to take
            continue
    return None


def take(run: Path, own: Path, stage: str) -> None:
    """Give a run's folder the stage of another, whole or not at all, and the pictures of its predictions.

    Raises:
        DataError: it cannot be written.
    """
    building = own / f"{UNFINISHED}taking-{stage}"
    shutil.rmtree(building, ignore_errors=True)
    shutil.copytree(run / stage, building, copy_function=_given, ignore=shutil.ignore_patterns(".*"))
    made = read_made(building)
    if made is not None and made.taken is None:  # else it was taken itself, and says from where
        record = made.model_copy(update={"taken": os.path.relpath(run, own)})
        write_json(building / MADE, record.model_dump(mode="json"))
    if (own / stage).exists():  # begun by a start that was killed before its first checkpoint
        shutil.rmtree(own / stage)
    building.rename(own / stage)
    for picture in run.glob(f"panels/*/{stage}.png"):
        _beside(picture, own / picture.relative_to(run))
    for picture in run.glob(f"panels/*/gates/{stage}-*.png"):
        _beside(picture, own / picture.relative_to(run))


def _others(runs: Path, own: Path) -> list[Path]:
    try:
        found = sorted(path for path in runs.iterdir() if path.is_dir() and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    return [path for path in found if path.resolve() != own.resolve()]


def _is_same(run: Path, own: Path, wanted: Wanted) -> bool:
    try:
        made = read_made(run / wanted.stage)
        if not _is_made_by(made, wanted.by) or made.settings != dict(wanted.settings) or made.effective:
            return False
        checkpoint = Store(run / wanted.stage / "checkpoints").latest()
        if checkpoint is None or not checkpoint.state["finished"]:
            return False
        for name, fingerprint in origins(checkpoint.state).items():
            kind, _, of = name.partition(".")
            if fingerprint != (wanted.data.get(of) if kind == "data" else _newest(own, of)):
                return False
    except CirnError:  # damaged, or removed meanwhile
        return False
    return True


def _is_made_by(made: Made | None, by: Circumstances) -> TypeGuard[Made]:
    """Whether a stage was made from its beginning by the same code on as many ranks."""
    if made is None or made.since or not made.starts:
        return False
    return by.code is not None and all(_how(start.by) == _how(by) for start in made.starts)


def _how(by: Circumstances) -> tuple[object, ...]:
    return (by.code, by.torch, by.ranks, by.device, by.precision, by.backend, by.micro_batch)


def _newest(run: Path, stage: str) -> str | None:
    """Return the fingerprint of a stage's checkpoint in this run; of an imported parent None: those are not shared."""
    checkpoint = Store(run / stage / "checkpoints").latest()
    return None if checkpoint is None else checkpoint.fingerprint


def _beside(file: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, copy)


def _given(file: str, copy: str) -> None:
    if file.endswith(_LINKED):
        try:
            os.link(file, copy)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copy2(file, copy)
