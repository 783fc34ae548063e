"""The run's shard sets: labelled source, unlabelled target, and labelled target images for scoring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cirn_dist.data.pack.pack import pack
from cirn_dist.data.run_sets.packing import content, place
from cirn_dist.data.run_sets.ready_packed import Role, packed_otherwise, roles, stand_in
from cirn_dist.data.run_sets.usable_labels import assert_labels, unlabelled
from cirn_dist.data.shards.info import omissions
from cirn_dist.data.shards.shardset import INDEX, ShardSet
from cirn_dist.data.workers.pool import processors
from cirn_dist.engine.replicas import assert_same_facts
from cirn_dist.engine.run import Run
from cirn_dist.engine.runtime import WORK_TIMEOUT
from cirn_dist.engine.shared_files import await_files
from cirn_dist.errors import DataError
from cirn_dist.rundir.sets import SetFacts, write_sets
from cirn_dist.rundir.settings import claim_data
from cirn_dist.rundir.turns import turn
from cirn_dist.stages.images import relabelling


@dataclass(frozen=True)
class Domains:
    """What a run trains on and is scored on.

    Attributes:
        target: images only; no stage can read a target label, because none is packed.
        scored: labelled target images, or None where there are none.
    """

    source: ShardSet
    target: ShardSet
    scored: ShardSet | None


def open_domains(run: Run) -> Domains:
    """Pack what is not packed yet, on rank 0, and open it on all.

    Raises:
        DataError: a raw folder is missing, empty or unreadable; not one pixel has a label.
        ConfigError: a set's label space is not the configured one; a set is not the one the run was begun with, or a
            packed one not what the settings call it.
    """
    data = run.config.data
    assert run.labels.classes  # one that is not known is refused before hours of packing
    sets: dict[Role, ShardSet] = {}
    facts: list[SetFacts] = []
    for role in roles(data):
        sets[role] = shards = _open(run, role)
        lines = [*omissions(shards.meta), *(_labels(run, role, shards) if role != "target" else ())]
        for line in lines:
            run.progress.print(f"{role} images: {line}")
        space = shards.label_space.name if shards.label_space else None
        facts.append(
            SetFacts(
                role=role,
                name=shards.name,
                images=len(shards),
                classes=space,
                fingerprint=shards.fingerprint,
                told=tuple(lines),
            )
        )
    fingerprints = {f"data.{name}": shards.fingerprint for name, shards in sets.items()}
    assert_same_facts(run.runtime, fingerprints, "data")
    run.runtime.on_main(lambda: claim_data(run.folder, fingerprints, run.config, run.allow))
    run.runtime.on_main(lambda: write_sets(run.folder, facts))
    return Domains(sets["source"], sets["target"], sets.get("scored"))


def _labels(run: Run, role: Role, shards: ShardSet) -> list[str]:
    """Return lines on what a set's labels cannot teach or score.

    Raises:
        ConfigError: they are of other classes.
        DataError: they label nothing.
    """
    data = run.config.data
    assert_labels(shards.label_space, run.labels, data, role, shards.path)
    table = relabelling(run, shards, "source" if role == "source" else "target")
    return unlabelled(shards, run.labels, table)


def _open(run: Run, role: Role) -> ShardSet:
    data = run.config.data
    packed = stand_in(data, role)
    if packed is not None:
        if note := packed_otherwise(packed, data, role):
            run.progress.print(f"{role} images: {note}")
        return packed
    folder = place(data, role, run.labels, run.folder)
    begun, kept = False, "stopped; finished shards are kept"

    def advance(done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            run.progress.start("data", total, done, unit=f"{role} images")
            begun = True
        run.progress.update(done)
        if run.stop:
            raise run.stop.stopped(kept, f"packing {role}")

    told = ""

    def waiting(who: str) -> None:
        nonlocal told
        if who != told:
            run.progress.print(f"{role} images: {who}, {folder}; waiting for it")
            told = who
        if run.stop:
            raise run.stop.stopped("nothing was begun", f"waiting for {role} images")

    def work() -> Path:
        try:
            if data.packed is None:
                return packed_now()
            with turn(data.packed / ".locks" / folder.name, (folder / INDEX).is_file, waiting):
                return packed_now()
        except DataError:
            if run.stop:  # the signal went to the whole process group, and the packing workers ended of it
                raise run.stop.stopped(kept, f"packing {role}") from None
            raise

    def packed_now() -> Path:
        # The other ranks wait: rank 0 has the machine's processors for itself.
        workers = max(data.workers, processors()) if data.workers else 1
        return pack(out=folder, workers=workers, progress=advance, **content(data, role, run.labels)).path

    folder = run.runtime.on_main(work, timeout=WORK_TIMEOUT)
    run.pause_point(f"packing {role}")
    await_files(run.runtime, [folder / INDEX])
    return ShardSet.open(folder)
