"""The stages in order: what is done, what is next.

Every rank walks the same list. A stage that is finished is recognised by what it left behind and passed over, so the
same command started again continues where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from cirn_dist.chain import (
    TableRow,
    adapt_control,
    adapts_from_cir,
    cir_control,
    has_source_control,
    of_round,
    rounds,
    stage_titles,
    table_rows,
)
from cirn_dist.data.index import ShardSet
from cirn_dist.domains import Domains, open_domains
from cirn_dist.engine.run import Run
from cirn_dist.errors import ConfigError, nearest
from cirn_dist.report.results import Control, Results, Row, write_results
from cirn_dist.stages.adapt import adapt
from cirn_dist.stages.pseudo_label import pseudo_label
from cirn_dist.stages.quality import measure_quality
from cirn_dist.stages.render import render
from cirn_dist.stages.scoring import StageScores, score_stage, write_cir_panels
from cirn_dist.stages.self_train import self_train
from cirn_dist.stages.source import train_supervised
from cirn_dist.stages.translate import translate


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
        if config.controls and has_source_control(config):
            self.train("source_control", lambda: train_supervised(run, "source_control", source, config.cir, scored))
        cir = self.intermediate() if config.with_cir else source
        if config.controls and adapts_from_cir(config):
            plain = cir_control(config)
            self.train("cir_control", lambda: train_supervised(run, "cir_control", cir, plain, scored))
        self.train("adapt", lambda: adapt(run, "adapt", cir, target, config.adapt, scored))
        if config.controls:
            longer = adapt_control(config)
            self.train("adapt_control", lambda: adapt(run, "adapt_control", cir, target, longer, scored))
        for number in rounds(config):
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
