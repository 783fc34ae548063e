"""Optional libraries: whether one is there."""

from __future__ import annotations

import importlib.util


def installed(package: str) -> bool:
    """Whether a library can be imported; a mere folder of its name in the working directory is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
