"""Runs looked at from another shell: a table of many, and what one is doing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cirn_dist.display.tables import percent, results_table
from cirn_dist.display.terminal import Listing, duration
from cirn_dist.errors import CirnError
from cirn_dist.rundir.metrics import Metrics
from cirn_dist.rundir.results import FILE_NAME as RESULTS
from cirn_dist.rundir.results import read_results
from cirn_dist.rundir.settings import CONFIG
from cirn_dist.rundir.status import Status, status
from cirn_dist.rundir.translation import PROGRESS, read_alarms


@dataclass(frozen=True)
class RunFacts:
    """A run's folder in a list.

    Attributes:
        state: how far it is, or why that cannot be told.
        miou: of its last scored stage.
        bytes: of all its files.
        changed: when a file of it was last written, seconds since the epoch.
    """

    folder: str
    state: str
    miou: float | None
    bytes: int
    changed: float


def runs_in(folder: Path) -> list[RunFacts]:
    """Return the runs below a folder, the one written last first; folders in runs' folders are not looked at."""
    return sorted(map(_facts, _run_folders(folder)), key=lambda one: -one.changed)


def _run_folders(folder: Path) -> Iterator[Path]:
    if (folder / CONFIG).is_file():
        yield folder
    elif folder.is_dir():
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
                yield from _run_folders(child)


def _facts(run: Path) -> RunFacts:
    stats = [file.stat() for file in run.rglob("*") if file.is_file()]
    try:
        state, miou = str(status(run)), _last_score(run)
    except CirnError as error:  # one that cannot be read must not hide the others
        state, miou = f"cannot be read: {error.what}", None
    return RunFacts(str(run), state, miou, sum(one.st_size for one in stats), max(one.st_mtime for one in stats))


def _last_score(run: Path) -> float | None:
    rows = read_results(run).rows if (run / RESULTS).is_file() else ()
    return next((row.miou for row in reversed(rows) if row.miou is not None), None)


def runs_table(found: Sequence[RunFacts]) -> RenderableType:
    """Lay out runs: folder, state, last score, size, and how long ago something was written."""
    table = Listing("Run", "State", ruled=False)
    for heading in ("mIoU, %", "MiB", "Written"):
        table.add_column(heading, justify="right")
    for one in found:
        ago = f"{duration(max(0.0, time.time() - one.changed))} ago"
        table.add_row(one.folder, Text(one.state), percent(one.miou), f"{one.bytes / 2**20:,.1f}", ago)
    return table


def run_view(run: Path) -> tuple[Status, RenderableType]:
    """Return how far a run is, and a view of it: stage, pace, remaining time, losses, alarms, pictures, scores."""
    found = status(run)
    parts: list[RenderableType] = [Text(str(run), style="bold"), Text(str(found))]
    if found.last is not None:
        bar = Table.grid(padding=(0, 2, 0, 0))
        bar.add_row(ProgressBar(total=found.iterations, completed=found.iteration, width=40), _pace(found.last, found))
        parts += [bar, _losses(found.last)]
    for alarm in read_alarms(run):
        parts.append(Text(f"iteration {alarm.iteration:,}: {alarm.message}", style="red"))
    pictures = sorted((run / PROGRESS).glob("*.png"))
    if pictures and found.stage:
        parts.append(Text(f"last picture: {pictures[-1]}", style="dim"))
    if (run / RESULTS).is_file():
        parts += ["", results_table(read_results(run))]
    return found, Group(*parts)


def _pace(last: Metrics, found: Status) -> Text:
    left = (found.iterations - found.iteration) / last.images_per_second if last.images_per_second else 0
    ago = duration(max(0.0, time.time() - last.time))
    eta = f", {duration(left)} left of this stage" if found.works else ""
    return Text(f"{last.images_per_second:.1f} images/s{eta}; logged {ago} ago", style="dim")


def _losses(last: Metrics) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in last.losses.items():
        table.add_row(Text(name, style="dim"), "not finite" if value is None else f"{value:.4g}")
    return table
