"""The checkpoints of one stage: each whole or not there, the newest valid one wins, old ones go last.

`step-00012000/` is built beside its place, synced, and renamed into it. Order is by step and never by time, so a clock
that goes backwards changes nothing.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from cirn_dist.checkpoint.folder import Checkpoint, Tensors, build, read_state, verify
from cirn_dist.errors import CheckpointError
from cirn_dist.files import sync

log = logging.getLogger(__name__)

_STEP = re.compile(r"step-(\d{8,})")
UNFINISHED = ".tmp-"  # what a name begins with while the folder is built, or is being deleted


class Store:
    """The checkpoints of one stage.

    Args:
        folder: made when the first checkpoint is saved.
        keep: how many of the newest valid ones stay, at least 2.
        keep_every: iterations between checkpoints that stay for good; 0 is none.
    """

    def __init__(self, folder: Path, *, keep: int = 2, keep_every: int = 0) -> None:
        if keep < 2:
            raise ValueError("keep at least 2 checkpoints: the newest may be damaged")
        self.folder, self.keep, self.keep_every = folder, keep, keep_every

    def save(self, step: int, components: Mapping[str, Tensors], state: Mapping[str, Any]) -> Checkpoint:
        """Write a checkpoint; older ones are deleted only once it is in place.

        Args:
            state: JSON content. Its `iteration` and `score` (higher is better) decide what stays beside the newest.

        Raises:
            CheckpointError: the disk is full or cannot be written; nothing of the attempt stays.
        """
        final = self.folder / f"step-{step:08d}"
        building = self.folder / f"{UNFINISHED}{final.name}"
        try:
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)
            build(building, components, state)
            if final.exists():  # a damaged one that was passed over
                self._remove(final)
            os.replace(building, final)
            sync(self.folder)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot save: {error}", where=final, fix="free space and start again") from None
        finally:
            shutil.rmtree(building, ignore_errors=True)
        self._retain()
        return Checkpoint(final, dict(state))

    def latest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint, or None; damaged ones are reported and passed over."""
        for path in self.paths():
            problem = verify(path)
            if problem is None:
                return Checkpoint(path, read_state(path))
            log.warning("checkpoint %s is passed over: %s", path, problem)
        return None

    def paths(self) -> list[Path]:
        """Return the checkpoint folders, valid or not, newest first."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _STEP.fullmatch(path.name)), key=step_of, reverse=True)

    def reasons(self, valid: Callable[[Path], bool] = lambda path: verify(path) is None) -> dict[Path, list[str]]:
        """Return why each checkpoint stays: newest, best, every; an empty list where nothing keeps it.

        Only valid ones count as the newest, and until `keep` of them are found every one stays.
        """
        paths = self.paths()
        kept: dict[Path, list[str]] = {path: [] for path in paths}
        found = 0
        for path in paths:
            if found == self.keep:
                break
            whole = valid(path)
            kept[path].append("newest" if whole else "damaged")
            found += whole
        states = {path: state for path in paths if (state := _state(path)) is not None}
        scored = [path for path in paths if states.get(path, {}).get("score") is not None]
        if scored:
            best = max(scored, key=lambda path: (states[path]["score"], -step_of(path)))
            kept[best].append("best")
        if self.keep_every:
            first: dict[int, Path] = {}  # of each span of keep_every iterations, the earliest: paths are newest first
            for path, state in states.items():
                first[int(state.get("iteration", 0)) // self.keep_every] = path
            for span, path in first.items():
                if span > 0:
                    kept[path].append("every")
        return kept

    def _retain(self) -> None:
        """Delete what nothing keeps; what cannot be deleted costs space, not the run."""
        try:
            for path, reasons in self.reasons().items():
                if not reasons:
                    self._remove(path)
        except OSError as error:
            log.warning("an old checkpoint in %s cannot be deleted: %s", self.folder, error)

    def _remove(self, path: Path) -> None:
        """Take a checkpoint away in one step, so that a kill leaves it whole or gone; then free its space."""
        gone = path.with_name(f"{UNFINISHED}gone-{path.name}")
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(path, gone)
        shutil.rmtree(gone, ignore_errors=True)


def step_of(path: Path) -> int:
    """Return the step in a checkpoint folder's name."""
    return int(path.name.removeprefix("step-"))


def _state(path: Path) -> dict[str, Any] | None:
    try:
        return read_state(path)
    except (OSError, ValueError):
        return None


__all__ = ["Checkpoint", "Store", "Tensors", "step_of", "verify"]
