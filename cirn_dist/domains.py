"""The run's shard sets: labelled source, unlabelled target, and labelled target images for scoring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cirn_dist.checkpoint.claim import claim_data
from cirn_dist.config import Domain
from cirn_dist.data.index import INDEX, ShardSet
from cirn_dist.data.pack import pack
from cirn_dist.data.recipes import load_recipe
from cirn_dist.data.spaces import setting
from cirn_dist.engine.replicas import assert_same_facts
from cirn_dist.engine.run import Run
from cirn_dist.engine.runtime import WORK_TIMEOUT
from cirn_dist.errors import ConfigError, DataError
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
        DataError: a raw folder is missing, empty or unreadable.
        ConfigError: a set's label space is not the configured one; a set is not the one the run was begun with.
    """
    data = run.config.data
    assert run.labels.classes  # one that is not known is refused before hours of packing
    source = _open(run, "source", data.source, labels=True)
    target = _open(run, "target", data.target, labels=False)
    scored = _open(run, "scored", data.target, labels=True) if data.target.score_split else None
    for domain, shards in (("source", source), ("target", scored)):
        if shards is not None:
            _assert_labels(run, domain, shards)
    sets = {"source": source, "target": target, "scored": scored}
    fingerprints = {f"data.{name}": shards.fingerprint for name, shards in sets.items() if shards is not None}
    assert_same_facts(run.runtime, fingerprints, "data")
    run.runtime.on_main(lambda: claim_data(run.folder, fingerprints, run.config, run.allow))
    return Domains(source, target, scored)


def _assert_labels(run: Run, domain: str, shards: ShardSet) -> None:
    space = shards.label_space
    if space is not None and getattr(run.config.data, domain).map_labels is not None:
        relabelling(run, shards, domain)  # a misspelt class is refused here
    elif space is None or not space.is_same(run.labels):
        raise ConfigError(
            f"its labels are {space.beside(run.labels) if space else 'not there'}, the run's classes are "
            f"data.label_space={run.labels.beside(space) if space else run.labels.name}",
            where=shards.path,
            fix=f"data.{domain}.map_labels={{}} translates them by class name" if space else None,
        )


def _open(run: Run, name: Literal["source", "target", "scored"], domain: Domain, *, labels: bool) -> ShardSet:
    raw = domain.raw
    if raw is not None and (raw / INDEX).is_file():
        return ShardSet.open(raw)
    data = run.config.data
    folder = run.folder / "data" / name
    split = (domain.score_split if name == "scored" else domain.split) or domain.split

    begun, kept = False, "stopped; finished shards are kept"

    def advance(done: int, total: int) -> None:
        nonlocal begun
        if not begun:
            run.progress.start("data", total, done, unit=f"{name} images")
            begun = True
        run.progress.update(done)
        if run.stop:
            raise run.stop.stopped(kept, f"packing {name}")

    def work() -> Path:
        try:
            return packed()
        except DataError:
            if run.stop:  # the signal went to the whole process group, and the packing workers ended of it
                raise run.stop.stopped(kept, f"packing {name}") from None
            raise

    def packed() -> Path:
        options = domain.score_options if name == "scored" else domain.options
        recipe = load_recipe(domain.recipe, options, split)
        if labels and recipe.label_space is None:
            recipe = recipe.model_copy(update={"label_space": setting(run.labels)})
        return pack(
            recipe,
            raw,
            folder,
            split,
            size=domain.size,
            codec=data.codec,
            labels=labels,
            label_size="original" if name == "scored" else "image",
            workers=max(1, data.workers),
            shard_mb=data.shard_mb,
            progress=advance,
        ).path

    folder = run.runtime.on_main(work, timeout=WORK_TIMEOUT)
    run.pause_point(f"packing {name}")
    return ShardSet.open(folder)
