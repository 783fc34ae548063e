"""What checkpoints a run has, as plain values for a table or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from safetensors import safe_open

from cirn_dist.checkpoint.folder import Checkpoint, read_manifest, read_state, verify, verify_sizes
from cirn_dist.checkpoint.store import Store, step_of
from cirn_dist.config.yamlfile import read_mapping
from cirn_dist.errors import CheckpointError, DataError
from cirn_dist.rundir.saves import read_saves
from cirn_dist.rundir.settings import CONFIG, assert_run


class Entry(BaseModel):
    """One checkpoint folder.

    Attributes:
        kept: why it stays: newest, best, every; "damaged" where it does not count.
        problem: what is wrong with it; of a listing only what shows without reading every byte.
        stalled_ms, written_s: what its save cost; None where no process reported it.
    """

    stage: str
    step: int
    path: Path
    iteration: int | None = None
    finished: bool = False
    score: float | None = None
    bytes: int = 0
    kept: list[str] = []
    problem: str | None = None
    stalled_ms: float | None = None
    written_s: float | None = None


class Component(BaseModel):
    """A file of named tensors."""

    name: str
    tensors: int
    numbers: int
    dtypes: list[str]
    bytes: int


class Contents(BaseModel):
    """What a checkpoint holds and says of itself."""

    stage: str
    path: Path
    fingerprint: str
    state: dict[str, Any]
    components: list[Component]


def inventory(run: Path, stage: str | None = None, *, check: bool = False) -> list[Entry]:
    """Describe a run's checkpoints, oldest first, stage by stage.

    Args:
        check: read every byte and compare the checksums; else sizes alone are compared.

    Raises:
        DataError: no run there, or no such stage in it.
    """
    return [entry for name, store in _stores(run, stage) for entry in _entries(name, store, check)]


def contents(run: Path, stage: str | None = None, step: int | None = None) -> list[Contents]:
    """Describe what is in one checkpoint of each stage, the newest valid one unless `step` is given.

    Raises:
        DataError: no run there, or no such stage in it.
        CheckpointError: no such step, or that one is damaged.
    """
    found = []
    for name, store in _stores(run, stage):
        if step is None:
            checkpoint = store.latest()
        else:
            paths = {step_of(path): path for path in store.paths()}
            if step not in paths:
                steps = ", ".join(str(one) for one in sorted(paths))
                raise CheckpointError(f"has no checkpoint of step {step}", where=store.folder, fix=f"it has: {steps}")
            checkpoint = Checkpoint.open(paths[step])
        if checkpoint is not None:
            components = [_component(checkpoint, name) for name in checkpoint.components]
            found.append(
                Contents(
                    stage=name,
                    path=checkpoint.path,
                    fingerprint=checkpoint.fingerprint,
                    state=checkpoint.state,
                    components=components,
                )
            )
    return found


def _stores(run: Path, stage: str | None) -> list[tuple[str, Store]]:
    """Return the stages that have checkpoints, in the order in which they were begun, with their stores."""
    assert_run(run)
    engine = read_mapping(run / CONFIG)["engine"]
    names = [path.parent.name for path in run.glob("*/checkpoints")]
    names.sort(key=lambda name: ((run / name / "checkpoints").stat().st_ctime_ns, name))
    if stage is not None and stage not in names:
        raise DataError(f"stage {stage} has no checkpoints", where=run, fix=f"these have: {', '.join(names) or 'none'}")
    return [
        (name, Store(run / name / "checkpoints", keep=engine["keep"], keep_every=engine.get("keep_every", 0)))
        for name in names
        if stage in (None, name)
    ]


def _entries(stage: str, store: Store, check: bool) -> list[Entry]:
    costs = {save.step: save for save in read_saves(store.folder.parent)}
    reasons = store.reasons() if check else store.reasons(valid=lambda path: verify_sizes(path) is None)
    entries = []
    for path in reversed(store.paths()):
        entry = Entry(stage=stage, step=step_of(path), path=path, kept=reasons[path])
        entry.problem = verify(path) if check else verify_sizes(path)
        if entry.problem is None:
            state = read_state(path)
            entry.iteration, entry.finished, entry.score = state["iteration"], state["finished"], state.get("score")
            entry.bytes = sum(facts["bytes"] for facts in read_manifest(path).values())
        if (cost := costs.get(entry.step)) is not None:
            entry.stalled_ms, entry.written_s = cost.stalled_ms, cost.written_s
        entries.append(entry)
    return entries


def _component(checkpoint: Checkpoint, name: str) -> Component:
    path = checkpoint.path / f"{name}.safetensors"
    with safe_open(path, framework="pt") as file:
        views = [file.get_slice(key) for key in file.keys()]  # noqa: SIM118 - not a mapping
        shapes = [view.get_shape() for view in views]
        dtypes = sorted({str(view.get_dtype()) for view in views})
    numbers = 0
    for shape in shapes:
        size = 1
        for side in shape:
            size *= side
        numbers += size
    return Component(name=name, tensors=len(shapes), numbers=numbers, dtypes=dtypes, bytes=path.stat().st_size)
