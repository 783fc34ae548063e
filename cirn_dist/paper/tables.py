"""Our results beside the paper's Tables 1, 2, 3 and 4, in its order of classes and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Group, RenderableType
from rich.text import Text

from cirn_dist.config.yamlfile import read_mapping
from cirn_dist.data.labels import label_space
from cirn_dist.display.tables import DASH, percent
from cirn_dist.display.terminal import Listing
from cirn_dist.paper.published import ABLATION, BY_K, CIRN, MEANS, SOURCE_ONLY, Task
from cirn_dist.rundir.made import read_made
from cirn_dist.rundir.results import Results, Row, read_results

TITLES: dict[Task, str] = {"gta5": "GTAV to Cityscapes", "synthia": "SYNTHIA to Cityscapes"}
NUMBERS: dict[Task, str] = {"gta5": "Table 1", "synthia": "Table 2"}
CLASSES = label_space("cityscapes19").classes


@dataclass(frozen=True)
class Run:
    """A run's results, with what of its configuration the tables are ordered by."""

    results: Results
    task: Task | None
    k: int | None

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read a run's folder; one that is not of a task of the paper has none.

        Raises:
            DataError: there are no results.
        """
        results, file = read_results(folder), folder / "config.yaml"
        config = read_mapping(file) if file.is_file() else {}
        made = read_made(folder / "adapt")  # the table is of stage 2, whatever the run went on with
        k = config.get("model", {}).get("acm", {}).get("k")
        return cls(results, task_of(config), (made.settings or {}).get("model.acm.k", k) if made else k)

    def row(self, title: str) -> Row | None:
        """Return the row of a title, of the last round where there are several."""
        return next((row for row in reversed(self.results.rows) if row.title.partition(", round")[0] == title), None)


def task_of(config: dict[str, Any]) -> Task | None:
    """Return the task of the paper that a configuration is of, if any."""
    data = config.get("data", {})
    recipe: Task = data.get("source", {}).get("recipe")
    return recipe if recipe in get_args(Task) and data.get("target", {}).get("recipe") == "cityscapes" else None


def tables(runs: Sequence[Run]) -> RenderableType:
    """Lay out every table of the paper that the runs have numbers for, and all runs in Table 4 at least."""
    parts: list[RenderableType] = []
    tasks: tuple[Task, ...] = get_args(Task)
    for task in tasks:
        of_task = [run for run in runs if run.task == task]
        if of_task:
            parts += [_classes(task, of_task), Text()]
    if any(run.task for run in runs):
        parts += [_by_k(runs), Text()]
    return Group(*parts, _ablation(runs))


def mean_over(row: Row, classes: Sequence[str], task: Task) -> tuple[float | None, ...]:
    """Return a row's means as the paper's table has them: over 19, or over 16 and 13 classes."""
    if task == "gta5":
        return (row.miou,)
    sixteen = row.miou if len(classes) == 16 else row.subsets.get("synthia16")
    return sixteen, row.subsets.get("synthia13")


def _classes(task: Task, runs: Sequence[Run]) -> Listing:
    table = Listing(title=f"{NUMBERS[task]}: {TITLES[task]}, IoU in %")
    table.add_column("Class", no_wrap=True)
    for title in ("paper: source only", "paper: CIRN"):
        table.add_column(title, justify="right")
    scored = [(run, row) for run in runs for row in (run.results.rows[0], run.results.rows[-1])]
    for run, row in scored:
        table.add_column(f"{run.results.name}: {row.title}", justify="right", overflow="fold")
    for i, name in enumerate(CLASSES):
        if CIRN[task][i] is not None:
            ours = [percent(_iou(run, row, name)) for run, row in scored]
            table.add_row(name, _number(SOURCE_ONLY[task][i]), _number(CIRN[task][i]), *ours)
    table.add_section()
    for i, label in enumerate(("mIoU",) if task == "gta5" else ("mIoU, 16", "mIoU, 13")):
        ours = [percent(mean_over(row, run.results.classes, task)[i]) for run, row in scored]
        published = [_number(MEANS[task][title][i]) for title in ("Source only", "CIRN")]
        table.add_row(label, *published, *ours)
    return table


def _by_k(runs: Sequence[Run]) -> Listing:
    table = Listing(title="Table 3: mIoU of stage 2 by K, %")
    table.add_column("K")
    for task in get_args(Task):
        table.add_column(f"paper: {TITLES[task]}", justify="right")
        table.add_column("ours", justify="right")
    for k in range(5):
        cells = []
        for task in get_args(Task):
            rows = [(run, run.row("CIR + ASS")) for run in runs if run.task == task and run.k == k]
            means = [mean_over(row, run.results.classes, task)[0] for run, row in rows if row is not None]
            cells += [_number(BY_K[task][k]), ", ".join(map(percent, means)) or DASH]
        table.add_row(str(k), *cells)
    return table


def _ablation(runs: Sequence[Run]) -> Listing:
    table = Listing(title="Table 4: mIoU by what is in, %")
    table.add_column("")
    for task in get_args(Task):
        table.add_column(f"paper: {TITLES[task]}", justify="right")
    for run in runs:
        table.add_column(run.results.name, justify="right", overflow="fold")
    for title in ABLATION["gta5"]:
        rows = [(run, run.row(title)) for run in runs]
        ours = [DASH if row is None else percent(headline(run, row)) for run, row in rows]
        table.add_row(title, *(_number(ABLATION[task][title]) for task in get_args(Task)), *ours)
    return table


def headline(run: Run, row: Row) -> float | None:
    """Return a row's mIoU as the paper's Tables 3 and 4 have it."""
    return mean_over(row, run.results.classes, run.task)[0] if run.task else row.miou


def _iou(run: Run, row: Row, name: str) -> float | None:
    classes = run.results.classes
    return row.iou[classes.index(name)] if name in classes and row.iou else None


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"
