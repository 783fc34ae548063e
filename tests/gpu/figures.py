"""What the suite measures, in one JSON file that is whole at every moment, whoever writes to it."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

from cirn_dist.files import replace_text


class Figures:
    """Named parts with named figures, written at once; several processes may add to one file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def put(self, part: str, **found: Any) -> None:
        """Add figures to a part; floats are cut to four significant digits."""
        with open(self.file.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            parts: dict[str, dict[str, Any]] = json.loads(self.file.read_text()) if self.file.is_file() else {}
            parts.setdefault(part, {}).update({name: _short(value) for name, value in found.items()})
            replace_text(self.file, json.dumps(parts, indent=1) + "\n")


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_short(one) for one in value]
    return value
