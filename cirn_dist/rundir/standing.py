"""What of a run is finished and what was made from it, and so whether a changed setting still has a stage to see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cirn_dist.chain import RESULTS, Stage
from cirn_dist.checkpoint.folder import Checkpoint
from cirn_dist.checkpoint.store import Store
from cirn_dist.config.schema import within
from cirn_dist.data.shards.shardset import INDEX, ShardSet
from cirn_dist.errors import DataError
from cirn_dist.rundir.made import read_made


@dataclass(frozen=True)
class Verdict:
    """Whether a changed setting is seen by a stage.

    Attributes:
        refused: why it is not; None where it is.
        remedy: what would let a stage see it, if something would.
        kept: finished stages that depend on it, and stay as they were made.
    """

    refused: str | None = None
    remedy: str | None = None
    kept: tuple[str, ...] = ()


def is_begun(run: Path) -> bool:
    """Whether a run's folder holds a checkpoint of any stage: until then nothing in it was trained."""
    return any(run.glob("*/checkpoints/step-*"))


class Standing:
    """The stages of a run as they are on the disk.

    Args:
        run: the run's folder.
        stages: those of the configuration that is to go on with.
    """

    def __init__(self, run: Path, stages: Sequence[Stage]) -> None:
        self.run, self.stages = run, [stage for stage in stages if stage.name != "data"]

    @cached_property
    def checkpoints(self) -> dict[str, Checkpoint]:
        """Every stage's newest valid checkpoint."""
        names = [path.parent.name for path in self.run.glob("*/checkpoints")]
        found = {name: Store(self.run / name / "checkpoints").latest() for name in names}
        return {name: checkpoint for name, checkpoint in found.items() if checkpoint is not None}

    @cached_property
    def sets(self) -> dict[str, ShardSet]:
        """Every stage's derived shard set, of those that can be read."""
        found = {}
        for index in self.run.glob(f"*/shards/{INDEX}"):
            try:
                found[index.parent.parent.name] = ShardSet.open(index.parent)
            except DataError:  # it is made again
                continue
        return found

    def made_from(self, stage: str) -> list[str]:
        """Return the stages that were made from one, directly or through others, by what they recorded."""
        names = {checkpoint.fingerprint: name for name, checkpoint in self.checkpoints.items()}
        names |= {shards.fingerprint: name for name, shards in self.sets.items()}
        used: dict[str, set[str]] = {}
        for name, checkpoint in self.checkpoints.items():
            state = checkpoint.state
            used[name] = set(state["parents"]) | {names.get(one, "") for one in state["data"].values()}
        for name, shards in self.sets.items():
            used[name] = {
                names.get(value, "") for value in shards.meta.get("made", {}).values() if isinstance(value, str)
            }
        found: set[str] = set()
        while more := {name for name, parents in used.items() if parents & (found | {stage})} - found:
            found |= more
        order = [one.name for one in self.stages]
        return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))

    def verdict(self, key: str, was: Any) -> Verdict:
        """Judge whether another value of a setting, or another data set, is seen by a stage.

        Args:
            key: a dotted key, or a data set as `data.source`.
            was: its value before.
        """
        seers = [stage for stage in [*self.stages, RESULTS] if stage.depends_on(key)]
        closed: list[Stage] = []
        for stage in seers:
            found, finished = self.checkpoints.get(stage.name), self._trained(stage) is not None
            done = int(found.state["iteration"]) if found is not None else 0
            longer = key in stage.length and (stage.iterations or 0) > done
            if not finished and key in stage.length and not longer:
                return Verdict(f"{stage.name} has trained for {done:,} iterations already")
            if not finished and stage.name not in self.sets:
                continue
            if not longer and not within(key, stage.remade):
                closed.append(stage)
            elif users := self.made_from(stage.name):
                folders = ", ".join(str(self.run / name) for name in users)
                reason = f"{stage.name} is finished and {listed(users)} {_were(users)} made from it"
                return Verdict(reason, f"remove {folders} to make all of that again")
        if len(closed) < len(seers):
            return Verdict(kept=tuple(stage.name for stage in closed))
        if not seers:
            return Verdict("no stage of this configuration sees it")
        names = [stage.name for stage in closed]
        made_with = [self._made_with(stage, key, was) for stage in closed]
        told = f" with {was!r}" if made_with == [was] * len(closed) else ""
        return Verdict(f"{listed(names)} {_were(names)} made{told}, and no stage is left that would see another value")

    def _trained(self, stage: Stage) -> int | None:
        """Return the iterations of a finished training, None of one that is not."""
        state: Mapping[str, Any] = self.checkpoints[stage.name].state if stage.name in self.checkpoints else {}
        return int(state["iteration"]) if state.get("finished") else None

    def _made_with(self, stage: Stage, key: str, was: Any) -> Any:
        """Return the value that a stage was last trained with, the run's own where it was not recorded."""
        made = read_made(self.run / stage.name)
        trained = self._trained(stage)
        return was if made is None or trained is None else made.settings_at(trained).get(key, was)


def listed(names: Sequence[str]) -> str:
    """Write names as one does: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _were(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"
