"""Checkpoint folders that are either whole or not there.

`step-00012000/` holds one safetensors file per component, `state.json`, and `MANIFEST.json` with every file's size
and SHA-256, written last. A folder is built beside its place, synced, and renamed into it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cirn_dist.data.files import file_sha256, sync
from cirn_dist.errors import CheckpointError

log = logging.getLogger(__name__)

Tensors = Mapping[str, Tensor]
_STEP = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Checkpoint:
    """One valid checkpoint folder.

    Attributes:
        state: what `state.json` says: step, iteration, stage, finished, and whatever else was saved.
    """

    path: Path
    state: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest, and through it of every file."""
        return file_sha256(self.path / "MANIFEST.json")

    def read(self, component: str) -> dict[str, Tensor]:
        """Read one component's tensors.

        Raises:
            CheckpointError: no such component; lists those there are.
        """
        path = self.path / f"{component}.safetensors"
        if not path.is_file():
            names = ", ".join(sorted(file.stem for file in self.path.glob("*.safetensors")))
            raise CheckpointError(f"has no component {component!r}", where=self.path, fix=f"it has: {names}")
        return dict(load_file(path))


class Store:
    """The checkpoints of one stage.

    Args:
        folder: made when the first checkpoint is saved.
        keep: how many of the newest stay, at least 2.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        if keep < 2:
            raise ValueError("keep at least 2 checkpoints: the newest may be damaged")
        self.folder, self.keep = folder, keep

    def save(self, step: int, components: Mapping[str, Tensors], state: Mapping[str, Any]) -> Checkpoint:
        """Write a checkpoint; older ones are deleted only once it is in place.

        Raises:
            CheckpointError: the disk is full or cannot be written; nothing of the attempt stays.
        """
        final = self.folder / f"step-{step:08d}"
        building = self.folder / f".tmp-step-{step:08d}"
        try:
            self._build(building, components, state)
            if final.exists():
                shutil.rmtree(final)
            os.replace(building, final)
            sync(self.folder)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot save: {error}", where=final, fix="free space and start again") from None
        finally:
            shutil.rmtree(building, ignore_errors=True)
        for old in self._steps()[self.keep :]:
            shutil.rmtree(old)
        return Checkpoint(final, dict(state))

    def latest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint, or None; damaged ones are reported and passed over."""
        for path in self._steps():
            problem = verify(path)
            if problem is None:
                return Checkpoint(path, json.loads((path / "state.json").read_text(encoding="utf-8")))
            log.warning("checkpoint %s is passed over: %s", path, problem)
        return None

    def _steps(self) -> list[Path]:
        """Return the checkpoint folders, newest first by step (clocks may go backwards)."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _STEP.fullmatch(path.name)), reverse=True)

    def _build(self, folder: Path, components: Mapping[str, Tensors], state: Mapping[str, Any]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, tensors in components.items():
            save_file(
                {key: t.detach().cpu().contiguous() for key, t in tensors.items()}, folder / f"{name}.safetensors"
            )
        (folder / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        manifest = {}
        for file in sorted(folder.iterdir()):
            manifest[file.name] = {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
            sync(file)
        (folder / "MANIFEST.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        sync(folder / "MANIFEST.json")
        sync(folder)


def verify(path: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text(encoding="utf-8"))
        for name, facts in manifest.items():
            file = path / name
            if file.stat().st_size != facts["bytes"] or file_sha256(file) != facts["sha256"]:
                return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable: {error}"
    return None
