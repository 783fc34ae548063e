"""The run that nothing disturbed, and how another one is compared with it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from conftest import MINI
from forks import Outcome, Starts

from cirn_dist.checkpoint.store import Store
from cirn_dist.data.shards.shardset import INDEX, ShardSet
from cirn_dist.rundir.saves import read_saves

STAGES = ("source", "translate", "cir", "adapt", "self_train")
SETS = ("data/source", "data/target", "data/scored", "render/shards", "pseudo_label/shards")


@dataclass(frozen=True)
class Undisturbed:
    """The run everything is compared with."""

    config: Path
    folder: Path
    operations: list[str]
    seconds: float
    essence: dict[str, Any]


def run_undisturbed(starts: Starts, folder: Path) -> Undisturbed:
    """Run the mini configuration with many checkpoints, of which some are kept for their score."""
    config = folder / "config.yaml"
    engine = MINI["engine"] | {"checkpoint_every": 4}
    evaluate = MINI["evaluate"] | {"every": 8}
    settings = MINI | {"controls": False, "engine": engine, "evaluate": evaluate}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    began = time.monotonic()
    done = starts("run", config, "--out", folder / "run", run=folder / "run", trace=True)
    assert done.code == 0, done.stderr
    return Undisturbed(config, folder / "run", done.operations, time.monotonic() - began, essence(folder / "run"))


def essence(run: Path) -> dict[str, Any]:
    """Return what must not depend on how often a run was killed: every weight, state, derived set and score.

    A checkpoint's fingerprint covers its networks, optimizers, scalers, pools, and its parents' fingerprints.
    """
    found: dict[str, Any] = {}
    for stage in STAGES:
        newest = Store(run / stage / "checkpoints").latest()
        assert newest is not None, f"{stage} has no valid checkpoint"
        assert newest.state["finished"], f"{stage} has not finished"
        found[stage] = newest.fingerprint
        found[f"{stage} kept"] = {
            path.name: why for path, why in Store(run / stage / "checkpoints", keep=2).reasons().items()
        }
    for shards in SETS:
        found[shards] = ShardSet.open(run / shards).fingerprint
    results = json.loads((run / "results.json").read_text("utf-8"))
    for row in results["rows"]:
        del row["seconds"]
    found["results"] = results
    return found


def assert_nothing_lost(run: Path, outcome: Outcome) -> None:
    """Check a folder after a start that was cut short: what was reported saved is there, what is there is whole."""
    assert "Traceback" not in outcome.stderr, outcome.stderr
    for stage in STAGES:
        reported = [save.step for save in read_saves(run / stage)]
        newest = Store(run / stage / "checkpoints").latest()
        if reported:
            assert newest is not None, f"{stage}: step {reported[-1]} was reported saved, nothing is there"
            assert newest.state["step"] >= reported[-1], f"{stage}: {reported[-1]} was reported saved"
    for index in run.rglob(INDEX):
        shards = ShardSet.open(index.parent)
        for i in range(len(shards)):
            shards.read(i)


def assert_nothing_left_over(run: Path) -> None:
    """Check that no half-written file or folder of a killed process, and no lock, stays in a finished run."""
    left = [path for path in run.rglob("*") if path.name.startswith((".tmp-", ".lock-")) or path.suffix == ".partial"]
    assert not left, left
