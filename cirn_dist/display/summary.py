"""Several runs of one experiment, summed up: mean and spread of every number over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.text import Text

from cirn_dist.config.recorded import recorded
from cirn_dist.display.tables import COLUMNS, DASH, miou_cells
from cirn_dist.display.terminal import Listing
from cirn_dist.errors import DataError
from cirn_dist.rundir.results import Results, read_results
from cirn_dist.rundir.settings import CONFIG, binding


class Spread(BaseModel):
    """Mean, sample standard deviation (None for one value), smallest and largest of some scores."""

    model_config = ConfigDict(frozen=True)

    mean: float
    std: float | None
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up one or more values."""
        std = stdev(values) if len(values) > 1 else None
        return cls(mean=mean(values), std=std, low=min(values), high=max(values))


class StageSummary(BaseModel):
    """One stage over the seeds; a column is None where any of the runs has no score there."""

    model_config = ConfigDict(frozen=True)

    title: str
    cells: tuple[Spread | None, ...]
    gain: Spread | None


class Summary(BaseModel):
    """The same stages over several seeds; cells in the order of mIoU, AdaBN, control, control AdaBN.

    `gain` is a stage's mIoU less the first stage's of the same seed: its lowest says whether every seed gained.
    """

    model_config = ConfigDict(frozen=True)

    seeds: tuple[int, ...]
    stages: tuple[StageSummary, ...]

    def __rich__(self) -> Listing:
        title = f"Target mIoU, %: mean ± standard deviation, lowest..highest of {len(self.seeds)} seeds"
        table = Listing(title=title, padding=(0, 1, 0, 0))
        head, *rows = self._grid("{mean} ± {std}\n{low}..{high}")  # in two lines six columns fit a terminal
        for i, heading in enumerate(head):
            table.add_column(heading, justify="right" if i else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        return table

    def _grid(self, form: str) -> list[list[str]]:
        first = self.stages[0].title if self.stages else "the first stage"
        head = ["Stage", *COLUMNS, f"over {first}"]
        return [head] + [
            [stage.title, *(_cell(cell, form) for cell in stage.cells), _cell(stage.gain, form, "+") if i else DASH]
            for i, stage in enumerate(self.stages)
        ]


def summarise_seeds(runs: Sequence[Path]) -> Summary:
    """Sum up several runs of the same stages.

    Args:
        runs: run folders or results.json files.

    Raises:
        DataError: no runs, a run without results, two runs of one seed, or runs of other classes or stages.
    """
    if not runs:
        raise DataError("no runs to sum up", fix="name at least one run folder")
    all_results = [read_results(path) for path in runs]
    _check_comparable(runs, all_results)
    stages = []
    for same_stage in zip(*(results.rows for results in all_results), strict=True):
        columns = zip(*map(miou_cells, same_stage), strict=True)
        gains = [
            _difference(row.miou, results.rows[0].miou) for row, results in zip(same_stage, all_results, strict=True)
        ]
        cells = tuple(map(_spread, columns))
        stages.append(StageSummary(title=same_stage[0].title, cells=cells, gain=_spread(gains)))
    return Summary(seeds=tuple(results.seed for results in all_results), stages=tuple(stages))


def _check_comparable(runs: Sequence[Path], all_results: Sequence[Results]) -> None:
    first, seen, known = all_results[0], set[int](), settings_of(runs[0])
    for path, results in zip(runs, all_results, strict=True):
        if results.classes != first.classes:
            raise DataError(f"scores other classes than {runs[0]}", where=path)
        if [row.stage for row in results.rows] != [row.stage for row in first.rows]:
            raise DataError(f"has other stages than {runs[0]}", where=path, fix="sum up finished runs of one config")
        settings = settings_of(path)
        if differ := [key for key in known.keys() & settings.keys() if known[key] != settings[key]]:
            what = f"was made with other settings than {runs[0]} ({_named(differ)})"
            raise DataError(what, where=path, fix="sum up runs that differ by their seed alone")
        if results.seed in seen:
            raise DataError(f"seed {results.seed} is there twice", where=path, fix="give each run once")
        seen.add(results.seed)


def settings_of(run: Path) -> dict[str, Any]:
    """Return the settings that a run's scores depend on, but for its seed; none where a results file stands alone."""
    file = run / CONFIG
    return {} if not file.is_file() else binding(recorded(file)) | dict.fromkeys(("name", "seed"))


def _named(keys: Sequence[str]) -> str:
    return ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _difference(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread.of(known) if len(known) == len(values) else None


def _cell(spread: Spread | None, form: str, sign: str = "") -> str:
    if spread is None:
        return DASH
    mean, low, high = (f"{100 * value:{sign}.1f}" for value in (spread.mean, spread.low, spread.high))
    return mean if spread.std is None else form.format(mean=mean, std=f"{100 * spread.std:.1f}", low=low, high=high)
