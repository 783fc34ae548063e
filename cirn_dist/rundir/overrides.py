"""The settings and data sets of a run that were changed with --allow, and which stages were made with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cirn_dist.chain import RESULTS
from cirn_dist.rundir.made import Made, made_in
from cirn_dist.rundir.settings import Change, read_changes
from cirn_dist.rundir.standing import listed


@dataclass(frozen=True)
class Override:
    """A change, and which stages were made with it.

    Attributes:
        seen: stage -> iteration that it was seen from; 0 is all of the stage.
        scores: whether the scores depend on it, which are made again.
        recorded: whether the run's stages recorded what they were made with.
    """

    change: Change
    seen: Mapping[str, int]
    scores: bool = False
    recorded: bool = True

    def where(self, titles: Mapping[str, str] = {}) -> str:
        """Say where it was seen, by the stages' names or titles."""

        def named(stage: str) -> str:
            return titles.get(stage, stage).strip()

        places = ["the scores"] if self.scores else []
        places += [named(stage) + (f" from iteration {at:,} on" if at else "") for stage, at in self.seen.items()]
        kept = f"not by {listed([named(stage) for stage in self.change.kept])}" if self.change.kept else ""
        if places:
            return f"seen by {listed(places)}" + (f", {kept}" if kept else "")
        return kept or ("seen by no stage so far" if self.recorded else "where it was seen is not recorded")

    def __str__(self) -> str:
        return f"{self.change}: {self.where()}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON content."""
        return self.change.model_dump(mode="json", by_alias=True) | {"seen": dict(self.seen), "scores": self.scores}


def overrides(run: Path) -> list[Override]:
    """Return what was changed in the course of a run, in order.

    Raises:
        DataError: a stage's record is damaged.
    """
    made = made_in(run)
    return [
        Override(change, _seen(change, made), RESULTS.depends_on(change.key), bool(made))
        for change in read_changes(run)
    ]


def _seen(change: Change, made: Mapping[str, Made]) -> dict[str, int]:
    seen = {}
    for stage, record in made.items():
        at = [one.at for one in record.effective if one.key == change.key and one.now == change.now]
        began_with = (record.settings or {}).get(change.key) == change.now
        if at or (began_with and record.starts and record.starts[0].began >= change.time):
            seen[stage] = at[-1] if at else 0
    return seen
