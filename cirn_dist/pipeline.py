"""The stages in order: what is done, what is next.

Every rank walks the same list. A stage that is finished is recognised by what it left behind and passed over, so the
same command started again continues where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from cirn_dist.config import Adapt, Config, SegmenterTraining
from cirn_dist.data.index import ShardSet
from cirn_dist.domains import Domains, open_domains
from cirn_dist.engine.run import Run
from cirn_dist.errors import ConfigError, nearest
from cirn_dist.report.results import Control, Results, Row, write_results
from cirn_dist.stages.adapt import adapt
from cirn_dist.stages.parts import of_round
from cirn_dist.stages.pseudo_label import pseudo_label
from cirn_dist.stages.quality import measure_quality
from cirn_dist.stages.render import render
from cirn_dist.stages.scoring import StageScores, score_stage, write_cir_panels
from cirn_dist.stages.self_train import self_train
from cirn_dist.stages.source import train_supervised
from cirn_dist.stages.translate import translate


@dataclass(frozen=True)
class TableRow:
    """A row of the results table: a trained stage, and the stage that is its control."""

    stage: str
    title: str
    control: str | None = None
    control_title: str = ""


def stage_titles(config: Config) -> list[tuple[str, str]]:
    """Return (name, title) of every stage a configuration runs, in order."""
    controls = config.controls
    cir = [("render", "Rendering the CIR"), ("cir", "CIR")] if config.with_cir else []
    if config.with_cir and config.translate.method == "cyclegan":
        cir.insert(0, ("translate", "CycleGAN"))
    ass = "CIR + ASS" if config.with_cir else "ASS"
    return [
        ("data", "Shard sets"),
        ("source", "Source only"),
        *([("source_control", "  control: source, longer")] if controls and _has_source_control(config) else []),
        *cir,
        *([("cir_control", "  control: CIR, longer")] if controls and _adapts_from_cir(config) else []),
        ("adapt", ass),
        *([("adapt_control", f"  control: {ass}, longer")] if controls else []),
        *(
            (of_round(stage, number), title + ("" if number == 1 else f", round {number}"))
            for number in _rounds(config)
            for stage, title in (("pseudo_label", "Pseudo labels"), ("self_train", f"{ass} + ST"))
        ),
    ]


def table_rows(config: Config) -> list[TableRow]:
    """Return the rows of Table 4 a configuration fills, each with its control of the same length.

    The CIR row is supervised training on the CIR without adaptation: the control of stage 2. Where stage 2 goes on from
    it, the control goes on from it as well, for as long.
    """
    titles = dict(stage_titles(config))
    longer = "source_control" if _has_source_control(config) else "source"
    controls = {
        "cir": (longer, "source, trained as long"),
        "adapt": (("cir_control" if _adapts_from_cir(config) else "cir"), "CIR, trained as long")
        if config.with_cir
        else (longer, "source, trained as long"),
        of_round("self_train", config.pseudo_label.rounds): ("adapt_control", f"{titles['adapt']}, trained as long"),
    }
    scored = ["source", *(["cir"] if config.with_cir else []), "adapt"]
    scored += [of_round("self_train", number) for number in _rounds(config)]
    return [TableRow(stage, titles[stage], *(controls.get(stage, ()) if config.controls else ())) for stage in scored]


def run_pipeline(run: Run, until: str | None = None) -> Results:
    """Walk all stages, score them, and write results.json after each; returns the results.

    Args:
        until: the last stage to walk, where it is not the last there is.

    Raises:
        Stopped: asked to stop; what was finished, and the current stage's checkpoint, are kept.
        ConfigError: there is no such stage.
    """
    names = [name for name, _ in stage_titles(run.config)]
    if until is not None and until not in names:
        raise ConfigError(f"no stage {until!r}", where="--until", fix=nearest(until, names))
    walk = _Walk(run, open_domains(run), until)
    try:
        return walk.through()
    except _Reached:
        return walk.results()


class _Reached(Exception):
    """The last stage that was asked for is done."""


@dataclass
class _Walk:
    run: Run
    domains: Domains
    until: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    scored: dict[str, StageScores] = field(default_factory=dict)

    def through(self) -> Results:
        run, config = self.run, self.run.config
        source, target, scored = self.domains.source, self.domains.target, self.domains.scored
        self.finish("data", f"{len(source):,} source, {len(target):,} target images")

        self.train("source", lambda: train_supervised(run, "source", source, config.source, scored))
        if config.controls and _has_source_control(config):
            self.train("source_control", lambda: train_supervised(run, "source_control", source, config.cir, scored))
        cir = self.intermediate() if config.with_cir else source
        if config.controls and _adapts_from_cir(config):
            plain = cir_control(config)
            self.train("cir_control", lambda: train_supervised(run, "cir_control", cir, plain, scored))
        self.train("adapt", lambda: adapt(run, "adapt", cir, target, config.adapt, scored))
        if config.controls:
            longer = adapt_control(config)
            self.train("adapt_control", lambda: adapt(run, "adapt_control", cir, target, longer, scored))
        for number in _rounds(config):
            labelled = self.make(of_round("pseudo_label", number), partial(pseudo_label, run, target, number))
            self.train(of_round("self_train", number), partial(self_train, run, cir, labelled, number, scored))
        return self.results()

    def intermediate(self) -> ShardSet:
        """Walk stage 1, and train on what it made without adaptation; returns the CIR."""
        run, source, target = self.run, self.domains.source, self.domains.target
        if run.config.translate.method == "cyclegan":
            self.train("translate", lambda: translate(run, source, target), scores=False)
        cir = self.make("render", lambda: render(run, source, target))
        measure_quality(run, source, target, cir)
        write_cir_panels(run, source, cir)
        self.train("cir", lambda: train_supervised(run, "cir", cir, run.config.cir, self.domains.scored))
        return cir

    def train(self, stage: str, work: Callable[[], None], *, scores: bool = True) -> None:
        """Run a training stage unless it is finished, and score it."""
        began = time.perf_counter()
        if not self.run.is_trained(stage):
            work()
        note = ""
        if scores:
            found = score_stage(self.run, stage, self.domains.target, self.domains.scored)
            self.scored[stage] = found
            note = "" if found.plain.miou is None else f"mIoU {100 * found.plain.miou:.1f}"
        self.seconds[stage] = time.perf_counter() - began
        if scores:
            self.results()
        self.finish(stage, note)

    def make(self, stage: str, work: Callable[[], ShardSet]) -> ShardSet:
        """Make a derived shard set, or open the one that is there."""
        made = work()
        speed = self.run.progress.speed
        self.finish(stage, f"{len(made):,} images" + (f", {speed:.1f} images/s" if speed else ""))
        return made

    def finish(self, stage: str, note: str) -> None:
        """Show that a stage is done; go no further after the last one that was asked for, or when asked to stop."""
        self.run.progress.finish(stage, note)
        if stage == self.until:
            raise _Reached
        self.run.pause_point(stage)

    def results(self) -> Results:
        """Put together and write what has been scored so far."""
        run = self.run
        rows = [self._row(row) for row in table_rows(run.config) if row.stage in self.scored]
        results = Results(
            name=run.config.name,
            seed=run.config.seed,
            classes=run.labels.classes,
            palette=run.labels.palette,
            rows=tuple(rows),
        )
        if run.runtime.main:
            write_results(run.folder, results)
        return results

    def _row(self, row: TableRow) -> Row:
        found = self.scored[row.stage]
        control = None
        if row.control in self.scored:
            other = self.scored[row.control]
            control = Control(title=row.control_title, adabn=other.adabn, **dict(other.plain))
        return Row(
            stage=row.stage,
            title=row.title,
            adabn=found.adabn,
            best=found.best,
            control=control,
            iterations=found.iterations,
            seconds=self.seconds[row.stage],
            **dict(found.plain),
        )


def cir_control(config: Config) -> SegmenterTraining:
    """Return stage 2's settings without its idea: supervised training on the CIR that goes on from the CIR row."""
    return SegmenterTraining(**{key: getattr(config.adapt, key) for key in SegmenterTraining.model_fields})


def adapt_control(config: Config) -> Adapt:
    """Return stage 2's settings, going on from its end for as long as stage 3's rounds last: the control of stage 3.

    Learning rate, optimizer and augmentation are stage 3's, so that the pseudo labels are the only difference.
    """
    same = ("optimizer", "lr", "momentum", "weight_decay", "power", "warmup", "augment", "clip_norm")
    kept = {key: getattr(config.self_train, key) for key in same}
    iterations = config.self_train.iterations * config.pseudo_label.rounds
    return config.adapt.model_copy(update={"init": "adapt", "iterations": iterations} | kept)


def _rounds(config: Config) -> range:
    return range(1, config.pseudo_label.rounds + 1)


def _adapts_from_cir(config: Config) -> bool:
    return config.with_cir and config.adapt.init == "cir"


def _has_source_control(config: Config) -> bool:
    """Whether training on the source as the CIR row trains on the CIR differs from the source stage itself."""
    return config.cir != config.source
