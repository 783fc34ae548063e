"""What a folder of runs has worked, and what it was spared by taking stages from each other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cirn_dist.rundir.made import Made, made_in


class Work(BaseModel):
    """Stages of some runs, and device-hours: the ranks of a start times how long it worked.

    Attributes:
        stages: those begun, trainings and derived sets.
        taken: of them, those that another run had made.
        hours: worked by these runs, scoring included.
        spared: what making the taken ones took where they were made.
    """

    model_config = ConfigDict(frozen=True)

    stages: int
    taken: int
    hours: float
    spared: float

    def __str__(self) -> str:
        return (
            f"{self.taken} of {self.stages} stages taken from another run: {self.spared:,.1f} device-hours spared, "
            f"{self.hours:,.1f} worked"
        )


def work_of(runs: Iterable[Path]) -> Work:
    """Sum up the records of every stage of some runs.

    Raises:
        DataError: a record is damaged.
    """
    stages = [made for run in runs for made in made_in(run).values()]
    taken = [made for made in stages if made.taken is not None]
    spared = sum(_hours(made, makes=True) for made in taken)
    return Work(
        stages=len(stages),
        taken=len(taken),
        hours=sum(_hours(made) for made in stages) - spared,
        spared=spared,
    )


def _hours(made: Made, *, makes: bool = False) -> float:
    """Return the device-hours of a stage's starts, or of those that brought it further; scoring does not."""
    return sum(start.seconds * start.by.ranks for start in made.starts if start.last > start.first or not makes) / 3600
