"""The stages in order: what is done, what is next.

Every rank walks the same list. A stage that is finished is recognised by what it left behind and passed over, so the
same command started again continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

from cirn_dist.chain import (
    TableRow,
    adapt_control,
    adapts_from_cir,
    cir_control,
    has_source_control,
    rounds,
    self_training_control,
    stage_in_round,
    stage_titles,
    stages,
    supervised_control,
    table_rows,
)
from cirn_dist.config.groups.adapt import Adapt
from cirn_dist.config.groups.training import SegmenterTraining
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.run import Run
from cirn_dist.errors import ConfigError, DataError, nearest
from cirn_dist.rundir.made import made_in
from cirn_dist.rundir.results import Control, Results, Row, read_results, write_results
from cirn_dist.rundir.scores import StageScores
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.domains import Domains, open_domains
from cirn_dist.stages.evaluate.scoring import score_stage, write_cir_panels
from cirn_dist.stages.segmenter import finished_segmenter
from cirn_dist.stages.self_train.intra_domain import intra_domain, split
from cirn_dist.stages.self_train.online import online_self_training
from cirn_dist.stages.self_train.pseudo_label import pseudo_label
from cirn_dist.stages.self_train.train import self_training
from cirn_dist.stages.shared import sharing
from cirn_dist.stages.source import supervised
from cirn_dist.stages.translate.quality import measure_quality
from cirn_dist.stages.translate.render import render
from cirn_dist.stages.translate.train import translation


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
    scored: dict[str, StageScores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.iterations = {stage.name: stage.iterations or 0 for stage in stages(self.run.config)}

    def through(self) -> Results:
        run, config = self.run, self.run.config
        source, target, scored = self.domains.source, self.domains.target, self.domains.scored
        self.finish("data", f"{len(source):,} source, {len(target):,} target images")

        def plain(stage: str, images: ShardSet, settings: SegmenterTraining) -> None:
            self.train(stage, lambda: supervised(run, stage, images, settings, scored), source=images)

        def adversarial(stage: str, settings: Adapt) -> None:
            self.train(stage, lambda: adaptation(run, stage, cir, target, settings, scored), source=cir, target=target)

        plain("source", source, config.source)
        if config.controls and has_source_control(config):
            plain("source_control", source, config.cir)
        cir = self.intermediate() if config.with_cir else source
        if config.with_cir:
            plain("cir", cir, config.cir)
        if config.controls and adapts_from_cir(config):
            plain("cir_control", cir, cir_control(config))
        if config.with_adapt:
            adversarial("adapt", config.adapt)
        if config.controls and config.with_self_train:
            if config.with_adapt:
                adversarial(self_training_control(config), adapt_control(config))
            else:
                plain(self_training_control(config), cir, supervised_control(config))
        if config.with_self_train and config.is_online:
            self.train("self_train", lambda: online_self_training(run, cir, target, scored), source=cir, target=target)
            return self.results()
        for number in rounds(config):
            labelled = self.make(stage_in_round("pseudo_label", number), partial(pseudo_label, run, target, number))
            described, source = partial(self_training, run, cir, labelled, number, scored), cir
            if config.pseudo_label.easy_share is not None:
                easy, hard = split(run, labelled, config.pseudo_label.easy_share)
                described, source = partial(intra_domain, run, easy, hard, scored), labelled
            self.train(stage_in_round("self_train", number), described, source=source, target=labelled)
        return self.results()

    def intermediate(self) -> ShardSet:
        """Walk stage 1; returns the CIR."""
        run, source, target = self.run, self.domains.source, self.domains.target
        if run.config.translate.method == "cyclegan":
            self.train(
                "translate", lambda: translation(run, source, target, *finished_segmenter(run, "source")),
                scores=False, source=source, target=target,
            )  # fmt: skip
        cir = self.make("render", lambda: render(run, source, target))
        measure_quality(run, source, target, cir)
        write_cir_panels(run, source, cir)
        return cir

    def train(self, stage: str, describe: Callable[[], Training], *, scores: bool = True, **data: ShardSet) -> None:
        """Run a training stage unless it is finished, and score it; `data` are the sets it trains on."""
        run, note = self.run, ""
        fingerprints = {name: shards.fingerprint for name, shards in data.items()}
        with run.recording(stage), sharing(run, stage, fingerprints):
            if run.is_trained(stage, self.iterations[stage]):
                run.assert_made_of(stage, fingerprints)
            else:
                fit(describe(), run)
                run.runtime.release()  # scoring needs the room
            if scores:
                found = score_stage(run, stage, self.domains.target, self.domains.scored)
                self.scored[stage] = found
                note = "" if found.plain.miou is None else f"mIoU {100 * found.plain.miou:.1f}"
        if scores:
            self.results()
        self.finish(stage, note)

    def make(self, stage: str, work: Callable[[], ShardSet]) -> ShardSet:
        """Make a derived shard set, or open the one that is there."""
        with self.run.recording(stage):
            made = work()
        speed = self.run.progress.speed
        self.finish(stage, f"{len(made):,} images" + (f", {speed:.1f} images/s" if speed else ""))
        return made

    def finish(self, stage: str, note: str) -> None:
        """Show that a stage is done; go no further after the last one that was asked for, or when asked to stop."""
        self.run.runtime.release()
        self.run.progress.finish(stage, note)
        if stage == self.until:
            raise _Reached
        self.run.pause_point(stage)

    def results(self) -> Results:
        """Put together and write what has been scored so far."""
        run = self.run
        rows = run.runtime.on_main(self._rows)
        results = Results(
            name=run.config.name,
            seed=run.config.seed,
            classes=run.labels.classes,
            palette=run.labels.palette,
            rows=tuple(rows),
            images=None if self.domains.scored is None else len(self.domains.scored),
        )
        if run.runtime.main:
            write_results(run.folder, results)
        return results

    def _rows(self) -> list[Row]:
        """Return the rows of what has been scored; their times are those of all starts that worked on a stage."""
        took = self.took_before | {
            stage: made.seconds for stage, made in made_in(self.run.folder).items() if not made.since
        }
        rows = [row for row in table_rows(self.run.config) if row.stage in self.scored]
        return [self._row(row, took.get(row.stage, 0.0)) for row in rows]

    @cached_property
    def took_before(self) -> dict[str, float]:
        """The times that results.json had when this start found it: of stages that have no record of their own."""
        try:
            return {row.stage: row.seconds for row in read_results(self.run.folder).rows}
        except DataError:  # there are none, or none that can be read
            return {}

    def _row(self, row: TableRow, seconds: float) -> Row:
        found = self.scored[row.stage]
        control = None
        if row.control in self.scored:
            other = self.scored[row.control]
            control = Control(title=row.control_title, adabn=other.adabn, **dict(other.plain))
        return Row(
            stage=row.stage,
            title=row.title,
            adabn=found.adabn,
            teacher=found.teacher,
            best=found.best,
            control=control,
            iterations=found.iterations,
            seconds=seconds,
            **dict(found.plain),
        )
