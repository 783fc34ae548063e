"""From raw data to the final score: what each thing in a run's folder was made of, and whether that is still there.

Everything is read from what the things themselves recorded: a shard set's `made`, a checkpoint's data and parents, a
score's checkpoint. A link fits where the recorded fingerprint is the one of what is there now.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cirn_dist.checkpoint.folder import Checkpoint
from cirn_dist.checkpoint.store import Store
from cirn_dist.config.recorded import recorded
from cirn_dist.data.shards.shardset import INDEX, ShardSet, packed_at
from cirn_dist.errors import CirnError
from cirn_dist.rundir.made import Made, read_made
from cirn_dist.rundir.overrides import Override, overrides
from cirn_dist.rundir.parents import FILES
from cirn_dist.rundir.settings import CONFIG, assert_run

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_ROLES = {"parent": "made from", "target": "target images"}
SHORT = 8  # digits of a fingerprint that are shown


@dataclass
class Node:
    """A thing that was made.

    Attributes:
        kind: run, score, checkpoint, shards, raw, weights or missing.
        problem: what does not fit, if something does not.
        made: how a stage was made; None where that is not recorded, or it is no stage.
        overrides: of a run, what was changed in the course of it.
        parents: what it was made of, by role.
    """

    kind: str
    name: str
    note: str = ""
    fingerprint: str = ""
    problem: str | None = None
    made: Made | None = None
    overrides: list[Override] = field(default_factory=list)
    parents: list[tuple[str, Node]] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return everything that does not fit, here and below, once each."""
        own = [f"{self.name}: {self.problem}"] if self.problem else []
        return list(dict.fromkeys([*own, *(one for _, parent in self.parents for one in parent.problems())]))

    def to_json(self) -> dict[str, Any]:
        """Return the tree as JSON content."""
        facts = {key: getattr(self, key) for key in ("kind", "name", "note", "fingerprint", "problem")}
        if self.made is not None:
            facts |= {"made": self.made.model_dump(mode="json")}
        if self.kind == "run":
            facts |= {"overrides": [one.to_json() for one in self.overrides]}
        return facts | {"made_of": [{"role": role} | parent.to_json() for role, parent in self.parents]}


def provenance(folder: Path) -> Node:
    """Return a run's tree: its scores, the last stage's first, down to the raw data.

    Raises:
        DataError: no run there.
    """
    assert_run(folder)
    return _Provenance(folder).tree()


class _Provenance:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = recorded(folder / CONFIG)
        self.sets = {shards.fingerprint: shards for shards in self._shard_sets()}
        self.newest: dict[str, Checkpoint | None] = {}
        self.made: dict[str, Node] = {}  # by fingerprint: many stages share a set

    def tree(self) -> Node:
        root = Node("run", str(self.folder), f"configuration {self.config['name']}, seed {self.config['seed']}")
        root.overrides = overrides(self.folder)
        stages = [path.parent.name for path in self.folder.glob("*/checkpoints")]
        finished = [(stage, found) for stage in stages if (found := self.checkpoint(stage)) is not None]
        used = {name for _, found in finished for name in found.state["parents"]}
        order = self._scored_order()
        # Ends of chains first, the last scored stage before all others; what they show is not shown again.
        finished.sort(key=lambda one: (one[0] in used, -order.get(one[0], -1)))
        for stage, found in finished:
            root.parents.append(("", self._score(stage, found)))
        return root

    def checkpoint(self, stage: str) -> Checkpoint | None:
        """Return a stage's newest valid checkpoint."""
        if stage not in self.newest:
            self.newest[stage] = Store(self.folder / stage / "checkpoints").latest()
        return self.newest[stage]

    def _scored_order(self) -> dict[str, int]:
        path = self.folder / "results.json"
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
        return {row["stage"]: number for number, row in enumerate(rows)}

    def _score(self, stage: str, found: Checkpoint) -> Node:
        node = self._trained(stage, found)
        path = self.folder / stage / "scores.json"
        if not path.is_file():
            return node
        scores = json.loads(path.read_text(encoding="utf-8"))
        miou = scores["plain"]["miou"]
        score = Node("score", f"{stage}: no labels" if miou is None else f"{stage}: target mIoU {100 * miou:.1f} %")
        score.parents.append(("of", node))
        if scores["checkpoint"] != found.fingerprint:
            score.problem = f"it is the score of checkpoint {scores['checkpoint'][:SHORT]}, not of the one there"
        return score

    def _trained(self, stage: str, found: Checkpoint) -> Node:
        if found.fingerprint in self.made:
            return self.made[found.fingerprint]
        state = found.state
        note = f"iteration {state['iteration']:,}" + ("" if state["finished"] else ", not finished")
        made = read_made(self.folder / stage)
        node = Node("checkpoint", f"{stage}/checkpoints/{found.path.name}", note, found.fingerprint, made=made)
        self.made[found.fingerprint] = node
        for name, record in state["parents"].items():
            node.parents.append(("starts from", self._parent(name, record)))
        for name, fingerprint in state["data"].items():
            node.parents.append((f"{name} images", self._set(fingerprint)))
        return node

    def _parent(self, name: str, record: dict[str, str]) -> Node:
        """Return the checkpoint or file of weights that a stage started from."""
        wanted = record["fingerprint"]
        if name in FILES:
            return Node("weights", record["path"], "imported", wanted)
        there = self.checkpoint(name)
        if there is not None and there.fingerprint == wanted:
            return self._trained(name, there)
        now = "there is none now" if there is None else f"{there.path.name} is {there.fingerprint[:SHORT]} now"
        return Node("missing", record["path"], fingerprint=wanted, problem=f"was {wanted[:SHORT]}, {now}")

    def _set(self, fingerprint: str) -> Node:
        """Return a shard set of this run, or one it reads, by fingerprint."""
        if fingerprint in self.made:
            return self.made[fingerprint]
        shards = self.sets.get(fingerprint)
        if shards is None:
            return Node("missing", f"shard set {fingerprint[:SHORT]}", problem="it is not there any more")
        made = shards.meta["made"]
        inside = shards.path.is_relative_to(self.folder)
        name = str(shards.path.relative_to(self.folder) if inside else shards.path)
        node = Node("shards", name, f"{len(shards):,} images in {len(shards.shards):,} tars", fingerprint)
        self.made[fingerprint] = node
        if "recipe" in made:
            node.parents.append(("packed from", self._raw(made, name)))
        for role, value in made.items():
            if not (isinstance(value, str) and _FINGERPRINT.fullmatch(value)) or role == "recipe_sha256":
                continue
            by_network = role in ("generator", "segmenter")
            part = self._maker(role, value) if by_network else self._set(value)
            node.parents.append(("made by" if by_network else _ROLES.get(role, role), part))
        return node

    def _maker(self, role: str, wanted: str) -> Node:
        """Return the checkpoint whose network made a set."""
        for path in self.folder.glob("*/checkpoints"):
            name = path.parent.name
            there = self.checkpoint(name)
            if there is not None and there.fingerprint == wanted:
                return self._trained(name, there)
        return Node("missing", f"the {role}", fingerprint=wanted, problem=f"was {wanted[:SHORT]}, not there any more")

    def _raw(self, made: dict[str, Any], name: str) -> Node:
        domain = self.config["data"]["source" if name == "data/source" else "target"]
        raw = domain["raw"] if name.startswith("data/") else None
        note = f"recipe {made['recipe_sha256'][:SHORT]}"
        return Node("raw", f"{made['recipe']}, {made['split']}", note + (f", from {raw}" if raw else ""))

    def _shard_sets(self) -> list[ShardSet]:
        """Open every shard set in the run's folder, and those its configuration names outside of it."""
        inside = [index.parent for pattern in ("data/*/", "*/shards/") for index in self.folder.glob(pattern + INDEX)]
        data = self.config["data"]
        places = [(one.get("raw"), one.get("split")) for one in (data["source"], data["target"])]
        places.append((self.config.get("translate", {}).get("shards"), None))
        named = [packed_at(Path(path), split) for path, split in places if path]
        shared = [index.parent for index in Path(packed).glob(f"*/{INDEX}")] if (packed := data.get("packed")) else []
        outside = [*(path for path in named if path), *shared]
        found = []
        for path in [*inside, *outside]:
            try:
                found.append(ShardSet.open(path))
            except CirnError:  # a damaged set is one that is not there: the tree says so where it is needed
                continue
        return found
