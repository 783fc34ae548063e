"""A run: its configuration, its folder, its ranks, its display."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from cirn_dist.checkpoint.folder import MANIFEST
from cirn_dist.checkpoint.state import assert_classes
from cirn_dist.checkpoint.store import Checkpoint, Store
from cirn_dist.config.schema import Config
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.run_sets.label_space import run_space
from cirn_dist.display.progress import Progress
from cirn_dist.display.trackers import Trackers
from cirn_dist.engine.runtime import Runtime
from cirn_dist.engine.shared_files import await_files
from cirn_dist.engine.stop import StopRequest
from cirn_dist.errors import CheckpointError, CirnError, Stopped
from cirn_dist.rundir.lock import RunLock
from cirn_dist.rundir.made import Recorder
from cirn_dist.rundir.parents import FILES, origins
from cirn_dist.rundir.settings import assert_unchanged


@dataclass(frozen=True)
class Run:
    """What every stage is given.

    Attributes:
        folder: `runs/NAME`; each stage has a folder of its name in it.
        progress: the display; only rank 0 has one that shows.
        stop: whether this rank was asked to stop.
        lock: on the folder; held by rank 0. None where nobody else can come.
        allow: settings and data sets that may differ from those the folder was begun with.
        recorder: keeps what each stage is made with; rank 0's writes. None where nothing is kept.
    """

    config: Config
    folder: Path
    runtime: Runtime
    progress: Progress
    stop: StopRequest
    lock: RunLock | None = None
    allow: tuple[str, ...] = ()
    recorder: Recorder | None = None

    @cached_property
    def labels(self) -> LabelSpace:
        """The classes this run is trained and scored on."""
        return run_space(self.config.data)

    @cached_property
    def trackers(self) -> Trackers:
        """Where numbers and pictures go beside the run's own files; nowhere on other ranks than 0."""
        return Trackers(self.config.engine.trackers if self.runtime.main else (), self.folder, self.config.name)

    def stage_folder(self, stage: str) -> Path:
        """Return a stage's folder."""
        return self.folder / stage

    def store(self, stage: str) -> Store:
        """Return a stage's checkpoints."""
        engine = self.config.engine
        return Store(self.stage_folder(stage) / "checkpoints", keep=engine.keep, keep_every=engine.keep_every)

    def latest(self, stage: str) -> Checkpoint | None:
        """Return a stage's newest valid checkpoint, the same one on every rank."""
        checkpoint = self.runtime.on_main(self.store(stage).latest)
        if checkpoint is not None:
            await_files(self.runtime, [checkpoint.path / MANIFEST])
        return checkpoint

    @contextmanager
    def recording(self, stage: str) -> Iterator[None]:
        """Keep what the work on a stage within this context is done with, and how long it takes; on all ranks."""
        if self.recorder is not None:
            self.recorder.come_to(stage)
        try:
            yield
        except BaseException:
            with suppress(CirnError):  # what ends the work is the news
                if self.recorder is not None and self.runtime.main:
                    self.recorder.leave()
            raise
        self.record(lambda recorder: recorder.leave())

    def work(self, done: int, *, makes: bool = True) -> None:
        """Record that there is work on the stage, after `done` iterations or images of it; on all ranks.

        Args:
            makes: whether it makes the stage; scoring does not.
        """
        self.record(lambda recorder: recorder.work(done, makes=makes))

    def record(self, entry: Callable[[Recorder], None]) -> None:
        """Make an entry into the record of the stage that is worked on; on all ranks, its error on all of them."""
        recorder = self.recorder
        if recorder is not None:
            self.runtime.on_main(lambda: entry(recorder))

    def is_trained(self, stage: str, iterations: int = 0) -> bool:
        """Whether a stage's training has reached its last iteration, and has lasted `iterations`."""
        checkpoint = self.latest(stage)
        return checkpoint is not None and checkpoint.state["finished"] and checkpoint.state["iteration"] >= iterations

    def assert_made_of(self, stage: str, data: Mapping[str, str]) -> None:
        """Check that a finished stage was trained on these sets, and from the stages before it as they are now.

        Args:
            data: stream -> fingerprint of its shard set; more than the stage trained on are no harm.

        Raises:
            ConfigError: on all ranks; names the first that differ.
        """
        checkpoint = self.finished(stage)
        before = origins(checkpoint.state)
        parents = {name: self.latest(name) for name in checkpoint.state["parents"] if name not in FILES}
        now = {f"data.{name}": fingerprint for name, fingerprint in data.items()}
        now |= {f"parent.{name}": parent.fingerprint for name, parent in parents.items() if parent is not None}
        known = {key: value for key, value in now.items() if key in before}
        fix = f"remove {self.stage_folder(stage)} to train it again"
        self.runtime.on_main(
            lambda: assert_unchanged(
                "other data or parents", checkpoint.path, before, before | known, self.allow, fix=fix
            )
        )

    def finished(self, stage: str) -> Checkpoint:
        """Return a finished stage's checkpoint.

        Raises:
            CheckpointError: the stage has not finished, or was trained on other classes.
        """
        checkpoint = self.latest(stage)
        if checkpoint is None or not checkpoint.state["finished"]:
            raise CheckpointError(
                "has no finished checkpoint", where=self.stage_folder(stage), fix="run that stage first"
            )
        assert_classes(checkpoint, self.labels)
        return checkpoint

    def pause_point(self, where: str) -> None:
        """End the run here if any rank was asked to stop; called where everything done so far is on disk.

        Raises:
            Stopped: on every rank.
        """
        if self.runtime.sum(torch.tensor(float(bool(self.stop)))) > 0:
            raise self.stopped("stopped; what was finished is kept", where)

    def stopped(self, what: str, where: str) -> Stopped:
        """Return what to raise once all ranks know that one of them was asked to stop; called on all of them."""
        return self.stop.stopped(what, where, [reason for reason in self.runtime.gather(self.stop.reason) if reason])
