"""Where a checkpoint comes from: what it started from and what it was trained on, by fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cirn_dist.checkpoint.folder import MANIFEST
from cirn_dist.files import file_sha256
from cirn_dist.resources import inside

IMPORTED = "imported"  # the name of a parent that is no stage: a file of weights
FEATURES = "initial features"  # of another: the weights whose features a stage stays near to
FILES = (IMPORTED, FEATURES)


def parent_records(run: Path, parents: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return {stage: {"path", "fingerprint"}} of what a stage starts from.

    Args:
        parents: stage -> its checkpoint's folder in the run, or an imported file of weights, relative to the run or
            whole.
    """
    return {name: {"path": inside(run, path), "fingerprint": fingerprint(run / path)} for name, path in parents.items()}


def fingerprint(path: Path) -> str:
    """Return what identifies a checkpoint folder or a file of weights."""
    return file_sha256(path / MANIFEST if path.is_dir() else path)


def origins(state: Mapping[str, Any]) -> dict[str, str]:
    """Return {"data.NAME" or "parent.NAME": fingerprint} of what a checkpoint's state says it was made of."""
    data = {f"data.{name}": value for name, value in state["data"].items()}
    return data | {f"parent.{name}": record["fingerprint"] for name, record in state["parents"].items()}
