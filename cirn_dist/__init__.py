"""Distributed unsupervised domain adaptation for semantic segmentation: the CIRN paper on any number of GPUs.

`load(path)` gives a trained network to use; everything else of the package is its own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from cirn_dist.inference.load import load


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: torch takes seconds, and the version needs none of it."""
    if name == "load":
        from cirn_dist.inference.load import load

        return load
    raise AttributeError(f"module 'cirn_dist' has no attribute {name!r}")
