"""STAGE/made.json: what a stage was made with, written by the starts that work on it and by no other.

The run's configuration is that of its newest start. A stage keeps here the settings it was made with, how they changed
in the course of it, and each start that worked on it: when, for how long, by which code, command and machine.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cirn_dist.chain import Stage
from cirn_dist.errors import DataError
from cirn_dist.files import write_json

FILE_NAME = "made.json"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Circumstances(_Record):
    """How a start is executed: its command, the code and the machine.

    Attributes:
        commit: of the checkout the code is of, with `-dirty` where it differs; None where it is no checkout.
        code: a hash of the package's source; None is not recorded.
        allow: what may differ from what the folder was begun with.
    """

    command: str
    version: str
    commit: str | None = None
    code: str | None = None
    python: str
    torch: str
    ranks: int
    device: str
    precision: str
    backend: str
    micro_batch: int
    allow: tuple[str, ...] = ()


class Start(_Record):
    """What one start did for a stage.

    Attributes:
        began, ended: times in UTC. A start that was killed ended, as far as is known, with its last checkpoint.
        seconds: of work, from coming to the stage on.
        first, last: iterations, or images of a derived set, that it began with and reached.
    """

    began: str
    ended: str
    seconds: float
    first: int
    last: int
    by: Circumstances


class Change(_Record):
    """A setting that had another value from an iteration on."""

    at: int
    key: str
    was: Any
    now: Any


class Made(_Record):
    """What a stage was made with.

    Attributes:
        settings: of those that its outcome depends on, dotted key: value, when it was begun; None is not recorded.
        since: iterations that were done before anything was recorded.
        taken: the run that made it, relative to this one, where it was taken from there.
    """

    settings: dict[str, Any] | None = None
    since: int = 0
    changes: tuple[Change, ...] = ()
    starts: tuple[Start, ...] = ()
    taken: str | None = None

    @property
    def seconds(self) -> float:
        """Seconds that all starts worked on it."""
        return sum(start.seconds for start in self.starts)

    @property
    def effective(self) -> tuple[Change, ...]:
        """The changes that work followed on."""
        reached = max((start.last for start in self.starts), default=0)
        return tuple(change for change in self.changes if change.at < reached)

    def settings_at(self, done: int) -> dict[str, Any]:
        """Return the settings that the work before iteration `done` ended with."""
        changed = {change.key: change.now for change in self.changes if change.at < done}
        return (self.settings or {}) | changed

    def going_on(self, done: int, settings: Mapping[str, Any]) -> Made:
        """Return the record of a stage that goes on after `done` iterations with these settings.

        What was recorded of iterations that were lost since then is dropped.
        """
        if self.settings is None:
            return Made(settings=dict(settings), since=done, starts=self.starts)
        if done <= self.since:
            same = self.settings == dict(settings)
            return Made(settings=dict(settings), since=done, starts=self.starts if same or done else ())
        before = self.settings_at(done)
        kept = tuple(change for change in self.changes if change.at < done)
        new = tuple(
            Change(at=done, key=key, was=before[key], now=value)
            for key, value in settings.items()
            if key in before and before[key] != value
        )
        added = {key: value for key, value in settings.items() if key not in before}  # of a later version
        return self.model_copy(update={"settings": self.settings | added, "changes": kept + new})


def read_made(stage_folder: Path) -> Made | None:
    """Return a stage's record, None where there is none: it was made before such records were.

    Raises:
        DataError: it is damaged.
    """
    file = stage_folder / FILE_NAME
    if not file.is_file():
        return None
    try:
        return Made.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"not a record ({first['msg']})", where=file, fix="remove it: it is then not known") from None


def made_in(run: Path) -> dict[str, Made]:
    """Return every stage's record, the one that was begun first first."""
    found = {file.parent.name: made for file in run.glob(f"*/{FILE_NAME}") if (made := read_made(file.parent))}
    return dict(sorted(found.items(), key=lambda one: one[1].starts[0].began if one[1].starts else ""))


class Recorder:
    """Keeps the records of the stages that a start works on; one at a time, on rank 0.

    Args:
        run: the run's folder.
        stages: the stages of its configuration.
        settings: those that results depend on, by dotted key.
        begin: called before the first entry: there is work with these settings.
    """

    def __init__(
        self,
        run: Path,
        stages: Sequence[Stage],
        settings: Mapping[str, Any],
        circumstances: Circumstances,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.run, self.circumstances, self._begin = run, circumstances, begin
        self._seen = {
            stage.name: {key: value for key, value in settings.items() if stage.depends_on(key)} for stage in stages
        }
        self._stage: str | None = None
        self._made = Made()
        self._start: Start | None = None
        self._came = 0.0

    def come_to(self, stage: str) -> None:
        """Note when the walk came to a stage; nothing is written until there is work."""
        self._stage, self._start = stage, None
        self._came, self._began = time.perf_counter(), _now()

    def work(self, done: int, *, makes: bool) -> None:
        """Note that there is work on the stage, that goes on after `done` iterations.

        Args:
            makes: whether it makes the stage; scoring does not, and is no entry where the making has none.

        Raises:
            DataError: the record is damaged or cannot be written.
        """
        if self._stage is None or self._start is not None:
            return
        self._begin()
        before = read_made(self._folder)
        if before is None and not makes:
            return
        before = before or Made()
        self._made = before.going_on(done, self._seen[self._stage]) if makes else before
        self._start = Start(
            began=self._began, ended=self._began, seconds=0, first=done, last=done, by=self.circumstances
        )
        self._write(done)

    def reached(self, done: int) -> None:
        """Note how far the work is.

        Raises:
            DataError: the record cannot be written.
        """
        if self._start is not None:
            self._write(done)

    def leave(self) -> None:
        """Note that this start has done what it could for the stage.

        Raises:
            DataError: the record cannot be written.
        """
        if self._start is not None:
            self._write(self._start.last)
        self._stage, self._start = None, None

    def settings_of(self, stage: str) -> dict[str, Any]:
        """Return the settings that a stage's outcome depends on, by dotted key."""
        return dict(self._seen[stage])

    @property
    def _folder(self) -> Path:
        return self.run / str(self._stage)

    def _write(self, done: int) -> None:
        assert self._start is not None
        took = time.perf_counter() - self._came
        self._start = self._start.model_copy(update={"ended": _now(), "seconds": round(took, 3), "last": done})
        made = self._made.model_copy(update={"starts": (*self._made.starts, self._start)})
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / FILE_NAME, json.loads(made.model_dump_json()))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
