"""A run: its configuration, its folder, its ranks, its display."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from cirn_dist.checkpoint.lock import RunLock
from cirn_dist.checkpoint.state import assert_classes
from cirn_dist.checkpoint.store import Checkpoint, Store
from cirn_dist.config import Config
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.spaces import run_space
from cirn_dist.engine.runtime import Runtime
from cirn_dist.engine.signals import StopRequest
from cirn_dist.errors import CheckpointError, Stopped
from cirn_dist.report.boards import Boards
from cirn_dist.report.progress import Progress


@dataclass(frozen=True)
class Run:
    """What every stage is given.

    Attributes:
        folder: `runs/NAME`; each stage has a folder of its name in it.
        progress: the display; only rank 0 has one that shows.
        stop: whether this rank was asked to stop.
        lock: on the folder; held by rank 0. None where nobody else can come.
        allow: settings and data sets that may differ from those the folder was begun with.
    """

    config: Config
    folder: Path
    runtime: Runtime
    progress: Progress
    stop: StopRequest
    lock: RunLock | None = None
    allow: tuple[str, ...] = ()

    @cached_property
    def labels(self) -> LabelSpace:
        """The classes this run is trained and scored on."""
        return run_space(self.config.data)

    @cached_property
    def boards(self) -> Boards:
        """Where numbers and pictures go beside the run's own files; nowhere on other ranks than 0."""
        return Boards(self.config.engine.trackers if self.runtime.main else (), self.folder, self.config.name)

    def stage_folder(self, stage: str) -> Path:
        """Return a stage's folder."""
        return self.folder / stage

    def store(self, stage: str) -> Store:
        """Return a stage's checkpoints."""
        engine = self.config.engine
        return Store(self.stage_folder(stage) / "checkpoints", keep=engine.keep, keep_every=engine.keep_every)

    def latest(self, stage: str) -> Checkpoint | None:
        """Return a stage's newest valid checkpoint, the same one on every rank."""
        return self.runtime.on_main(self.store(stage).latest)

    def is_trained(self, stage: str) -> bool:
        """Whether a stage's training has reached its last iteration."""
        checkpoint = self.latest(stage)
        return checkpoint is not None and bool(checkpoint.state["finished"])

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
