"""Runs of several experiments side by side: means over their seeds, and differences paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Group, RenderableType
from rich.text import Text

from cirn_dist.display.summary import Spread, Summary, settings_of, summarise_seeds
from cirn_dist.display.tables import DASH
from cirn_dist.display.terminal import Listing, value_text
from cirn_dist.errors import DataError
from cirn_dist.rundir.results import Results, read_results

_SHOWN = 3  # settings in an experiment's name


class Experiment(BaseModel):
    """Runs that differ by their seed alone.

    Attributes:
        label: what the experiment is called beside the others.
        runs: their folders; results: what came out.
        settings: those that are not the same in all experiments.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    runs: tuple[Path, ...]
    results: tuple[Results, ...]
    summary: Summary
    settings: dict[str, Any]

    def miou(self, stage: str) -> dict[int, float]:
        """Return a stage's mIoU by seed, where it is scored."""
        found = {one.seed: row.miou for one in self.results for row in one.rows if row.stage == stage}
        return {seed: value for seed, value in found.items() if value is not None}

    def class_means(self, stage: str) -> list[float | None]:
        """Return a stage's IoU by class, means over the seeds; None where a seed has none."""
        rows = [row.iou for one in self.results for row in one.rows if row.stage == stage and row.iou]
        columns = list(zip(*rows, strict=True))
        return [None if None in column else sum(column) / len(column) for column in columns]


class Difference(BaseModel):
    """A stage of an experiment less that of the first one, over the seeds that both have.

    Attributes:
        gained: seeds in which it is higher.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    label: str
    seeds: tuple[int, ...]
    spread: Spread
    gained: int


class Comparison(BaseModel):
    """Several experiments; `stages` are all theirs with their titles, in the order of the pipeline."""

    model_config = ConfigDict(frozen=True)

    experiments: tuple[Experiment, ...]
    stages: dict[str, str]
    differences: tuple[Difference, ...]

    def __rich__(self) -> RenderableType:
        table = Listing(title="Target mIoU, %: mean ± standard deviation (seeds)")
        table.add_column("Stage")
        for one in self.experiments:
            table.add_column(one.label, justify="right", overflow="fold")
        for stage, title in self.stages.items():
            table.add_row(title, *(shown(one.miou(stage)) for one in self.experiments))
        paired = Listing(title=f"Less {self.experiments[0].label}, the same seeds")
        for head in ("Stage", "Experiment", "Points", "Seeds", "Higher in"):
            paired.add_column(head, justify="left" if head in ("Stage", "Experiment") else "right", overflow="fold")
        for found in self.differences:
            cells = (signed(found.spread), f"{len(found.seeds)}", f"{found.gained}")
            paired.add_row(self.stages[found.stage], found.label, *cells)
        return Group(table, Text(), paired) if self.differences else table


def compare(runs: Sequence[Path]) -> Comparison:
    """Put runs into experiments, by their settings, and compare these.

    Args:
        runs: run folders, or results.json files, which count as one experiment.

    Raises:
        DataError: no runs, a run without results, one seed twice in an experiment, or other classes.
    """
    if not runs:
        raise DataError("no runs to compare", fix="name run folders")
    groups: list[tuple[dict[str, Any], list[Path]]] = []
    for run in runs:
        settings = settings_of(run)
        same = next((paths for known, paths in groups if known == settings), None)
        if same is None:
            groups.append((settings, [run]))
        else:
            same.append(run)
    every = [settings for settings, _ in groups]
    keys = sorted({key for settings in every for key in settings})
    differ = [key for key in keys if any(settings.get(key) != every[0].get(key) for settings in every)]
    experiments = tuple(_experiment(paths, {key: settings.get(key) for key in differ}) for settings, paths in groups)
    first = experiments[0]
    for one in experiments:
        if one.results[0].classes != first.results[0].classes:
            raise DataError(f"scores other classes than {first.runs[0]}", where=one.runs[0])
    stages: dict[str, str] = {}
    for one in sorted(experiments, key=lambda one: -len(one.results[0].rows)):
        stages |= {row.stage: row.title for row in one.results[0].rows if row.stage not in stages}
    found = [_difference(stage, one, first) for one in experiments[1:] for stage in stages]
    return Comparison(experiments=experiments, stages=stages, differences=tuple(one for one in found if one))


def shown(by_seed: dict[int, float]) -> str:
    """Write a mean and its spread in percent, with the number of seeds; a dash where there is none."""
    if not by_seed:
        return DASH
    spread = Spread.of(list(by_seed.values()))
    around = "" if spread.std is None else f" ± {100 * spread.std:.1f}"
    return f"{100 * spread.mean:.1f}{around} ({len(by_seed)})"


def signed(spread: Spread) -> str:
    """Write a difference in points, with its spread."""
    around = "" if spread.std is None else f" ± {100 * spread.std:.1f}"
    return f"{100 * spread.mean:+.1f}{around}"


def _experiment(paths: Sequence[Path], settings: dict[str, Any]) -> Experiment:
    results = tuple(read_results(path) for path in paths)
    told = [f"{key}={value_text(settings[key]) or DASH}" for key in sorted(settings)]
    more = [f"{len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
    label = ", ".join([results[0].name, *told[:_SHOWN], *more])
    return Experiment(
        label=label, runs=tuple(paths), results=results, summary=summarise_seeds(paths), settings=settings
    )


def _difference(stage: str, one: Experiment, first: Experiment) -> Difference | None:
    mine, base = one.miou(stage), first.miou(stage)
    seeds = sorted(mine.keys() & base.keys())
    if not seeds:
        return None
    values = [mine[seed] - base[seed] for seed in seeds]
    gained = sum(value > 0 for value in values)
    return Difference(stage=stage, label=one.label, seeds=tuple(seeds), spread=Spread.of(values), gained=gained)
