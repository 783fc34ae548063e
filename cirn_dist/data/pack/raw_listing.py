"""What of a raw folder was packed, by names and sizes, and whether the folder is still that one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cirn_dist.data.pack.raw_files import Found, find
from cirn_dist.data.pack.recipes import Recipe
from cirn_dist.errors import DataError
from cirn_dist.files import read_json

LISTING = "raw.json"  # beside index.json; sets that were packed before there were listings have none
_log = logging.getLogger(__name__)


def listing(found: Found, raw: Path) -> dict[str, Any]:
    """Describe a raw folder: its path, and {path below it: bytes} of every image and label that is packed."""
    files = [path for item in found.items for path in (item.image, item.label) if path is not None]
    return {
        "raw": str(raw.resolve()),
        "files": {path.relative_to(raw).as_posix(): path.stat().st_size for path in files},
    }


def assert_unchanged(out: Path, recipe: Recipe, raw: Path | None, split: str, labels: bool | None) -> None:
    """Compare a raw folder with what a finished set was packed from.

    A folder that is not there any more is told, and not needed.

    Raises:
        DataError: files were added, removed or replaced by ones of another size; says how many, and which first.
    """
    if recipe.layout != "files" or raw is None or not (out / LISTING).is_file():
        return
    there = read_json(out / LISTING)
    if not raw.is_dir():
        _log.warning("%s was packed before, from %s; %s is not there, and not looked at", out, there["raw"], raw)
        return
    before, now = there["files"], listing(find(recipe, raw, split, labels), raw)["files"]
    told = [
        _told("added", sorted(now.keys() - before.keys())),
        _told("removed", sorted(before.keys() - now.keys())),
        _told("of another size", sorted(name for name in now.keys() & before.keys() if now[name] != before[name])),
    ]
    if any(told):
        raise DataError(
            f"was packed from other files than {raw} has now: {', '.join(one for one in told if one)}",
            where=out,
            fix=f"name the folder it was packed from ({there['raw']}), choose another folder, or remove {out}",
        )


def _told(what: str, names: Sequence[str]) -> str:
    return f"{len(names):,} {what} (first {names[0]})" if names else ""
