"""What follows a run beside its own files: TensorBoard, Weights & Biases; numbers and pictures of a stage."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, assert_never

import numpy as np
from PIL import Image

from cirn_dist.choices import TrackerName
from cirn_dist.errors import ConfigError
from cirn_dist.files import replace_text
from cirn_dist.libraries import installed
from cirn_dist.rundir.metrics import Metrics


class Tracker(Protocol):
    """Anything that takes a stage's metrics and pictures until it is closed."""

    def write(self, metrics: Metrics) -> None:
        """Take one step's metrics."""

    def image(self, name: str, iteration: int, image: Image.Image) -> None:
        """Take an RGB picture."""

    def close(self) -> None:
        """Finish writing."""


class Trackers:
    """The trackers that a run was asked for; one stage is open at a time.

    Args:
        names: which.
        folder: of the run.
        run_name: how a tracker that has many runs calls this one.
    """

    def __init__(self, names: Sequence[TrackerName], folder: Path, run_name: str) -> None:
        self.names, self.folder, self.run_name = tuple(names), folder, run_name
        self._open: list[Tracker] = []

    def start(self, stage: str, resume_at_iteration: int = 0) -> None:
        """Open every tracker for a stage that goes on from `resume_at_iteration`: later entries will be repeated."""
        self.finish()
        for name in self.names:
            match name:
                case "tensorboard":
                    self._open.append(TensorBoard(self.folder / stage / "tensorboard", resume_at_iteration))
                case "wandb":
                    self._open.append(Wandb(self.folder, self.run_name, stage))
                case _:
                    assert_never(name)

    def write(self, metrics: Metrics) -> None:
        """Give every tracker one step's metrics."""
        for one in self._open:
            one.write(metrics)

    def image(self, name: str, iteration: int, image: Image.Image) -> None:
        """Give every tracker an RGB picture."""
        for one in self._open:
            one.image(name, iteration, image)

    def finish(self) -> None:
        """Close the stage's trackers."""
        for one in self._open:
            one.close()
        self._open = []


def require(names: Sequence[TrackerName]) -> None:
    """Check that every tracker's library is there, before hours of work.

    Raises:
        ConfigError: one is not installed.
    """
    for name in names:
        if not installed(name):
            fix = f"pip install 'cirn-dist[{name}]', or leave {name} out"
            raise ConfigError(f"{name} is asked for but not installed", where="engine.trackers", fix=fix)


class TensorBoard:
    """Event files in a folder of their own; scalars and pictures against the iteration.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, resume_at_iteration: int = 0) -> None:
        require(["tensorboard"])
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=resume_at_iteration + 1)

    def write(self, metrics: Metrics) -> None:
        """Add one step's losses, rates, speed, and what was observed."""
        for name, value in _scalars(metrics):
            self._writer.add_scalar(name, value, metrics.iteration, walltime=metrics.time)

    def image(self, name: str, iteration: int, image: Image.Image) -> None:
        """Add a picture."""
        self._writer.add_image(name, np.asarray(image), iteration, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class Wandb:
    """One Weights & Biases run per run folder, a section per stage; WANDB_MODE and its other variables hold.

    Started again, the run goes on in the same place: its id is kept in the folder.

    Raises:
        ConfigError: wandb is not installed.
    """

    def __init__(self, folder: Path, run_name: str, stage: str) -> None:
        require(["wandb"])
        import wandb

        self._wandb, self._stage = wandb, stage
        identity = folder / "wandb.id"
        if not identity.is_file():
            replace_text(identity, uuid.uuid4().hex[:12])
        project = os.environ.get("WANDB_PROJECT", "cirn-dist")
        self._run: Any = wandb.init(
            project=project, dir=str(folder), name=run_name, id=identity.read_text(encoding="utf-8"), resume="allow"
        )
        # Every stage counts its own iterations from 0, and wandb's own step may only grow.
        self._run.define_metric(f"{stage}/iteration", hidden=True)
        self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/iteration")

    def write(self, metrics: Metrics) -> None:
        """Add one step's losses, rates, speed, and what was observed."""
        self._log(metrics.iteration, dict(_scalars(metrics)))

    def image(self, name: str, iteration: int, image: Image.Image) -> None:
        """Add a picture."""
        self._log(iteration, {name: self._wandb.Image(image)})

    def close(self) -> None:
        """Finish; a later stage goes on in the same run."""
        self._run.finish()

    def _log(self, iteration: int, values: dict[str, Any]) -> None:
        staged = {f"{self._stage}/{name}": value for name, value in values.items()}
        self._run.log(staged | {f"{self._stage}/iteration": iteration})


def _scalars(metrics: Metrics) -> Iterator[tuple[str, float]]:
    """Name a step's numbers by group; a loss that was not finite is NaN again."""
    for group, values in (("losses", metrics.losses), ("observed", metrics.observed), ("rates", metrics.rates)):
        for name, value in values.items():
            yield f"{group}/{name}", float("nan") if value is None else value
    yield "images_per_second", metrics.images_per_second
