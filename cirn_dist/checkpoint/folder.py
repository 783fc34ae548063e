"""One checkpoint folder: a safetensors file per component, `state.json`, and `MANIFEST.json` over both.

The manifest has every file's size and SHA-256 and is written last, so a folder with a manifest that holds is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from cirn_dist.errors import CheckpointError
from cirn_dist.files import as_its_folder, file_sha256, sync
from cirn_dist.formats import CHECKPOINT, is_format

MANIFEST, STATE = "MANIFEST.json", "state.json"
Tensors = Mapping[str, Tensor]

# Files whose checksum this process has computed: they are not read again while inode, size and time stay the same.
_known: set[tuple[int, int, int, int, str]] = set()


@dataclass(frozen=True)
class Checkpoint:
    """One valid checkpoint folder.

    Attributes:
        state: what `state.json` says: step, iteration, stage, finished, and whatever else was saved.
    """

    path: Path
    state: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """Open a folder after checking every file of it.

        Raises:
            CheckpointError: it is damaged.
        """
        problem = verify(path)
        if problem is not None:
            raise CheckpointError(problem, where=path)
        return cls(path, read_state(path))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest, and through it of every file."""
        return file_sha256(self.path / MANIFEST)

    @property
    def components(self) -> list[str]:
        """The components' names."""
        return sorted(file.stem for file in self.path.glob("*.safetensors"))

    @property
    def bytes(self) -> int:
        """Size of all files the manifest lists."""
        return sum(int(facts["bytes"]) for facts in read_manifest(self.path).values())

    def read(self, component: str) -> dict[str, Tensor]:
        """Read one component's tensors; the file's checksum is compared first.

        Raises:
            CheckpointError: no such component, with a list of those there are; or its file is damaged.
        """
        path = self.path / f"{component}.safetensors"
        if not path.is_file():
            raise CheckpointError(
                f"has no component {component!r}", where=self.path, fix=f"it has: {', '.join(self.components)}"
            )
        facts = read_manifest(self.path).get(path.name)
        if facts is None or not _is_whole(path, facts):
            raise CheckpointError("is damaged", where=path, fix="remove that checkpoint and start again")
        return dict(load_file(path))


def build(folder: Path, components: Mapping[str, Tensors], state: Mapping[str, Any]) -> None:
    """Write a checkpoint into an empty folder, and every file and the folder itself to the disk.

    Raises:
        OSError, SafetensorError: the disk is full or cannot be written.
    """
    for name, tensors in components.items():
        file = folder / f"{name}.safetensors"
        save_file({key: t.detach().cpu().contiguous() for key, t in tensors.items()}, file)
        as_its_folder(file)  # it is written by way of a temporary file of 0600
    (folder / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    manifest = {}
    for file in sorted(folder.iterdir()):
        facts = {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
        manifest[file.name] = facts
        sync(file)
        _known.add(_identity(file, facts))
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    sync(folder / MANIFEST)
    sync(folder)


def verify(path: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None.

    Every file is read and compared with its checksum, except one this process has read before and that was not
    touched since (inode, size, time of change).
    """
    return _problem(path, lambda file, facts: None if _is_whole(file, facts) else "is damaged")


def verify_sizes(path: Path) -> str | None:
    """Return what is wrong with a checkpoint folder as far as names and sizes tell, or None."""
    return _problem(path, lambda file, facts: None if file.stat().st_size == facts["bytes"] else "has another size")


def _problem(path: Path, check: Callable[[Path, dict[str, Any]], str | None]) -> str | None:
    """Return the first thing that `check` or reading the folder's own files finds wrong."""
    try:
        for name, facts in read_manifest(path).items():
            if (wrong := check(path / name, facts)) is not None:
                return f"{name} {wrong}"
        read_state(path)
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable: {error}"
    return None


def forget_checksums() -> None:
    """Read every file again when it is next verified, as a new process would."""
    _known.clear()


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """Return {file name: {"bytes", "sha256"}} of a checkpoint folder."""
    manifest: dict[str, dict[str, Any]] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def read_state(path: Path) -> dict[str, Any]:
    """Return what `state.json` of a checkpoint folder says.

    Raises:
        CheckpointError: a later version wrote it.
    """
    state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    is_format(state.get("format"), CHECKPOINT, path, CheckpointError)
    return state


def _is_whole(file: Path, facts: Mapping[str, Any]) -> bool:
    identity = _identity(file, facts)
    if identity in _known:
        return True
    if file.stat().st_size != facts["bytes"] or file_sha256(file) != facts["sha256"]:
        return False
    _known.add(identity)
    return True


def _identity(file: Path, facts: Mapping[str, Any]) -> tuple[int, int, int, int, str]:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns, str(facts["sha256"])
