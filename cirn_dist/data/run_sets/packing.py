"""Packing the sets of a run: what each holds, and the folder it is packed into."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cirn_dist.config.groups.data import Data
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.run_sets.ready_packed import Role, domain_of, raw_of, recipe_of, split_of
from cirn_dist.files import digest
from cirn_dist.resources import plain


def content(data: Data, role: Role, space: LabelSpace) -> dict[str, Any]:
    """Return the arguments of `pack` that say what a set holds."""
    return {
        "recipe": recipe_of(data, role, space),
        "raw": raw_of(data, role),
        "split": split_of(data, role),
        "size": domain_of(data, role).size,
        "codec": data.codec,
        "labels": role != "target",
        "label_size": "original" if role == "scored" else "image",
        "shard_mb": data.shard_mb,
    }


def place(data: Data, role: Role, space: LabelSpace, run: Path) -> Path:
    """Return the folder that a set is packed into: the run's own, or in `data.packed` one that is named by content.

    Args:
        run: the run's folder.
    """
    if data.packed is None:
        return run / "data" / role
    what = content(data, role, space)
    recipe, raw, (width, height) = what["recipe"], what["raw"], what["size"]
    told = what | {"recipe": recipe.fingerprint, "raw": None if raw is None else str(plain(raw))}
    if recipe.renderer is not None:
        told["renderer"] = recipe.renderer
    name = f"{recipe.name}-{what['split']}-{width}x{height}-{digest(told)[:8]}"
    return data.packed / re.sub(r"[^\w.-]+", "-", name)
