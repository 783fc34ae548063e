"""What the shard verbs show: a set's description, what is wrong with it, how fast it can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from cirn_dist.data.shards.check import Bad
from cirn_dist.data.shards.info import Info
from cirn_dist.data.shards.verify import Verified
from cirn_dist.display.terminal import Listing

_NAMED = 10  # images left out that are named; all are in index.json


class Counter:
    """A progress callback, (done, total), that moves a bar on standard error."""

    def __init__(self, bar: Progress, title: str) -> None:
        self._bar, self._task = bar, bar.add_task(title, total=None)

    def __call__(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)


@contextmanager
def counting(title: str, *, quiet: bool = False) -> Iterator[Counter]:
    """Show a bar with count and remaining time while the context is open; plain logs and `quiet` ranks get none."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal  # it would leave an empty line
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as bar:
        yield Counter(bar, title)


def info_table(info: Info) -> RenderableType:
    """Lay out a set's description, its class histogram as bars."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    size = f"{info.size[0]}x{info.size[1]}" if info.size else "as the originals"
    for name, value in (
        ("folder", str(info.path)),
        ("samples", f"{info.samples:,} in {info.shards:,} shards, {info.bytes / 2**20:,.1f} MiB"),
        ("fields", ", ".join(info.fields)),
        ("image size", size),
        ("labels", info.label_space or "none"),
        ("mean, std", _triple(info.mean) + "   " + _triple(info.std)),
        ("left out", f"{len(info.left_out):,}"),
        ("fingerprint", info.fingerprint),
    ):
        facts.add_row(name, value)
    parts: list[RenderableType] = [Text(info.name, style="bold"), facts]
    if info.classes:
        largest = max(share for _, share in info.classes) or 1.0
        histogram = Table.grid(padding=(0, 2, 0, 0))
        for name, share in info.classes:
            bar = ProgressBar(total=largest, completed=share, width=40, complete_style="cyan", finished_style="cyan")
            histogram.add_row(name, bar, Text(f"{100 * share:.2f} %", justify="right"))
        parts += ["", histogram]
    if info.omissions:
        further = [f"left out: {one['source']}: {one['reason']}" for one in info.left_out[1:_NAMED]]
        parts += ["", *map(Text, info.omissions), *map(Text, further)]
    return Group(*parts)


def bad_table(found: Verified) -> RenderableType:
    """Lay out what is wrong with a set, one line each."""
    if found.ok:
        return Text(f"{found.samples:,} samples read, nothing wrong", style="green")
    return Group(
        Text(f"{len(found.bad):,} things wrong in {found.samples:,} samples", style="red"), bad_lines(found.bad)
    )


def bad_lines(bad: Sequence[Bad]) -> Listing:
    """Lay out bad samples: shard, key, field, reason."""
    table = Listing("Shard", "Key", "Field", Column("Reason", overflow="fold"), ruled=False)
    for one in bad:
        table.add_row(one.shard, one.key or "", one.field or "", one.reason)
    return table


def _triple(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"
