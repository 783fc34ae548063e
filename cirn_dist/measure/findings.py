"""What is found out about a machine, and about a configuration's memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        advice: what to do about it; empty where nothing is wrong.
        broken: whether no run can succeed before it is mended.
    """

    what: str
    found: str
    advice: str = ""
    broken: bool = False


@dataclass(frozen=True)
class Footprint:
    """The memory of one stage on one rank, in bytes.

    Attributes:
        images: the largest that one forward pass sees.
        parameters: of all networks involved, frozen ones too.
        total: the peak of a step.
        measured: on this machine's GPU; counted, unless so.
    """

    stage: str
    images: str
    parameters: int
    gradients: int
    optimizer: int
    total: int
    measured: bool

    @property
    def activations(self) -> int:
        """What remains of the peak: activations, and what is computed between."""
        return max(0, self.total - self.parameters - self.gradients - self.optimizer)
