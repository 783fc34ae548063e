"""Distributed unsupervised domain adaptation for semantic segmentation: the CIRN paper on any number of GPUs.

`load(path)` gives a trained network to use, `train(configuration)` trains one; all else is the package's own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]

if TYPE_CHECKING:
    from cirn_dist.inference.load import load
    from cirn_dist.running import train


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: torch takes seconds, and the version needs none of it."""
    if name == "load":
        from cirn_dist.inference.load import load

        return load
    if name == "train":
        from cirn_dist.running import train

        return train
    raise AttributeError(f"module 'cirn_dist' has no attribute {name!r}")
