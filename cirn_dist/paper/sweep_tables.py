"""What a sweep has brought so far: Tables 3 and 4 and the parameter analyses, mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Group, RenderableType
from rich.text import Text

from cirn_dist.config.load import load
from cirn_dist.config.schema import within
from cirn_dist.config.yamlfile import read_mapping
from cirn_dist.display.summary import Spread
from cirn_dist.display.tables import DASH
from cirn_dist.display.terminal import Listing
from cirn_dist.errors import DataError
from cirn_dist.paper.published import ABLATION, BY_K, Task
from cirn_dist.paper.sweep import Point, short
from cirn_dist.paper.tables import Run, headline
from cirn_dist.rundir.overrides import overrides
from cirn_dist.rundir.settings import CONFIG
from cirn_dist.rundir.spared import Work, work_of

K, CIR = "model.acm.k", "with_cir"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Progress(_Record):
    """How far a point has got.

    Attributes:
        state: "not started", "started", or "stopped" where it was asked to and has not been started again; or how the
            run in its folder differs from the point, whose scores are then not this point's.
        setting: the varied values, but for what Table 4's rows vary themselves.
        miou: row of Table 4 -> mIoU as a fraction, of those scored so far.
    """

    index: int
    name: str
    base: str
    seed: int
    setting: str
    state: str
    miou: dict[str, float]


class Cell(_Record):
    """One number of a table: over `runs` seeds, as fractions, beside the paper's in percent."""

    base: str
    setting: str
    row: str
    paper: float | None
    ours: Spread | None
    runs: int


class Collected(_Record):
    """A sweep's points, the cells of its tables in the sweep's order, and the work of all."""

    sweep: str
    keys: tuple[str, ...]
    points: tuple[Progress, ...]
    by_setting: tuple[Cell, ...]
    by_row: tuple[Cell, ...]
    work: Work

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [_progress(self.points), Text()]
        by = ", ".join("K" if key == K else short(key) for key in self.keys)
        if self.keys:
            number = "Table 3: " if self.keys == (K,) else ""
            parts += [_by_setting(f"{number}mIoU of stage 2 by {by}, %", by, self.by_setting), Text()]
        for base in dict.fromkeys(cell.base for cell in self.by_row):
            cells = [cell for cell in self.by_row if cell.base == base]
            parts += [_by_row(f"Table 4, {base}: mIoU by what is in, %", by if len(self.keys) == 1 else "", cells)]
        return Group(*parts, Text(), Text(str(self.work)))


def collect(name: str, points: Sequence[Point], tasks: Mapping[str, Task | None], folder: Path) -> Collected:
    """Read what the runs of a sweep's points have scored so far.

    Args:
        tasks: the task of the paper that each base is, if any.
        folder: holds the folder of every run that was started.
    """
    keys = tuple(key for key in points[0].values if key != CIR)
    progress = tuple(
        Progress(index=i, name=p.name, base=p.base, seed=p.seed, setting=_setting(p.values), **_scored(folder, p))
        for i, p in enumerate(points)
    )
    settings = {_setting(point.values): point.values for point in points}
    bases = dict.fromkeys(point.base for point in points)
    scored = {row for point in progress for row in point.miou}
    stage_2 = "ASS" if "ASS" in scored and "CIR + ASS" not in scored else "CIR + ASS"

    def cell(base: str, setting: str, row: str, paper: float | None) -> Cell:
        same = [p for p in progress if (p.base, p.setting) == (base, setting) and row in p.miou]
        ours = Spread.of([p.miou[row] for p in same]) if same else None
        return Cell(base=base, setting=setting, row=row, paper=paper, ours=ours, runs=len(same))

    return Collected(
        sweep=name,
        keys=keys,
        points=progress,
        by_setting=tuple(
            cell(base, setting, stage_2, _paper_by_k(tasks[base], values[K]) if keys == (K,) else None)
            for setting, values in settings.items()
            for base in bases
        ),
        by_row=tuple(
            cell(base, setting, row, ABLATION[task][row] if (task := tasks[base]) else None)
            for row in ABLATION["gta5"]
            for base in bases
            for setting in settings
        ),
        work=work_of(folder / point.name for point in points),
    )


def _paper_by_k(task: Task | None, k: int) -> float | None:
    return BY_K[task][k] if task is not None and 0 <= k < len(BY_K[task]) else None


def _scored(runs: Path, point: Point) -> dict[str, Any]:
    """Return the state of a point's run, and the mIoU of each row; of the last round where there are several."""
    folder = runs / point.name
    if not folder.is_dir():
        return {"state": "not started", "miou": {}}
    if other := _other(folder, point):
        return {"state": f"another run: {other}", "miou": {}}
    try:
        run = Run.read(folder)
        scores = {row.title.partition(", round")[0]: headline(run, row) for row in run.results.rows}
    except DataError:  # no row has been scored yet
        scores = {}
    state = "stopped" if (folder / "PREEMPTED").is_file() else "started"
    return {"state": state, "miou": {title: value for title, value in scores.items() if value is not None}}


def _other(folder: Path, point: Point) -> str:
    """Return where a run's settings are not those of its point, or were changed in its course; "" where they are."""
    varied = (*point.values, "seed")
    changed = [str(one) for one in overrides(folder) if within(one.change.key, varied)]
    if changed or not (folder / CONFIG).is_file():
        return "; ".join(changed)
    wanted = load(point.base, list(point.overrides)).model_dump(mode="json")
    found = read_mapping(folder / CONFIG)
    return ", ".join(f"{key} is {_at(found, key)}" for key in varied if _at(found, key) != _at(wanted, key))


def _at(tree: Any, key: str) -> Any:
    """Return what a tree of settings has at a dotted key, None where it has nothing there."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _setting(values: Mapping[str, Any]) -> str:
    varied = {short(key): value for key, value in values.items() if key != CIR}
    return ", ".join(str(value) if len(varied) == 1 else f"{key} {value}" for key, value in varied.items())


def _progress(points: Sequence[Progress]) -> Listing:
    table = Listing(title="Points")
    for heading, justify in (("", "right"), ("Run", "left"), ("State", "left"), ("Scored up to", "left")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for point in points:
        table.add_row(str(point.index), point.name, point.state, next(reversed(point.miou), DASH))
    return table


def _by_setting(title: str, by: str, cells: Sequence[Cell]) -> Listing:
    bases = dict.fromkeys(cell.base for cell in cells)
    table = Listing(title=title)
    table.add_column(by)
    for base in bases:
        table.add_column("paper", justify="right")
        table.add_column(base, justify="right", overflow="fold")
    for setting in dict.fromkeys(cell.setting for cell in cells):
        row = [cell for cell in cells if cell.setting == setting]
        table.add_row(setting, *(text for cell in row for text in (_number(cell.paper), _ours(cell))))
    return table


def _by_row(title: str, by: str, cells: Sequence[Cell]) -> Listing:
    table = Listing(title=title)
    table.add_column("", no_wrap=True)
    table.add_column("paper", justify="right")
    for setting in dict.fromkeys(cell.setting for cell in cells):
        table.add_column(f"{by} {setting}".strip() or "ours", justify="right", overflow="fold")
    for row in dict.fromkeys(cell.row for cell in cells):
        same = [cell for cell in cells if cell.row == row]
        table.add_row(row, _number(same[0].paper), *map(_ours, same))
    return table


def _ours(cell: Cell) -> str:
    """Give mean ± standard deviation (seeds) in percent, the mean alone of one seed."""
    if cell.ours is None:
        return DASH
    mean = f"{100 * cell.ours.mean:.1f}"
    return mean if cell.ours.std is None else f"{mean} ± {100 * cell.ours.std:.1f} ({cell.runs})"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"
