"""What a run shows while it works: a live display on a terminal, plain lines everywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cirn_dist.display.terminal import standard_output
from cirn_dist.errors import Stopped

PLAIN_INTERVAL = 10.0


@dataclass
class _Stage:
    title: str
    total: int = 0
    first: int = 0
    iteration: int = 0
    state: str = "pending"
    started: float = 0.0
    seconds: float = 0.0
    images_per_second: float = 0.0
    per_step: int = 1
    note: str = ""
    losses: dict[str, float] = field(default_factory=dict)

    def eta(self, now: float) -> float | None:
        """Give the seconds left at the stage's mean pace, None before the first update."""
        done = self.iteration - self.first
        return (now - self.started) * (self.total - self.iteration) / done if done > 0 else None


class Progress:
    """Show the stages of a run, the current one's pace and its losses.

    Args:
        stages: (name, title) of every stage, in order.
        quiet: show nothing at all; also for the ranks that do not speak.
        console: where to show it; standard output unless given.
        clock: seconds from any start.
        notice: what the display says below everything else, "" for nothing; asked again and again.
    """

    def __init__(
        self,
        stages: Sequence[tuple[str, str]],
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        notice: Callable[[], str] = str,
    ) -> None:
        self._stages = {name: _Stage(title) for name, title in stages}
        self._quiet, self._clock, self._notice = quiet, clock, notice
        self._console = console or standard_output()
        self._live: Live | None = None
        self._current: str | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._began = self._spoke = clock()

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal and not self._quiet:
            self._live = Live(console=self._console, get_renderable=self._display, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._current and kind:
            state = "stopped" if issubclass(kind, KeyboardInterrupt | Stopped) else "failed"
            self._close(self._stages[self._current], state, state)
        if self._live:
            self._live.stop()

    @property
    def running(self) -> str | None:
        """The stage that was started and has not finished."""
        return self._current

    @property
    def speed(self) -> float | None:
        """Images per second of the stage that is running, on all ranks; None where nothing runs."""
        return self._stages[self._current].images_per_second if self._current is not None else None

    def start(
        self, stage: str, total_iterations: int, done: int = 0, unit: str = "iterations", per_step: int = 1
    ) -> None:
        """Begin a stage; a resumed one has `done` iterations behind it, which its pace does not count.

        Args:
            unit: what is counted.
            per_step: how many of them a step takes.
        """
        entry = self._stages[stage]
        entry.per_step = per_step
        entry.total, entry.first, entry.iteration = total_iterations, done, done
        entry.state, entry.started = "running", self._clock()
        self._current, self._spoke = stage, entry.started
        steps = f" ({math.ceil(total_iterations / per_step):,} steps of {per_step} images)" if per_step > 1 else ""
        self._say(f"{entry.title}: started, {total_iterations:,} {unit}{steps}" + (f", {done:,} done" if done else ""))

    def update(
        self, iteration: int, losses: Mapping[str, float] | None = None, images_per_second: float | None = None
    ) -> None:
        """Move the current stage to `iteration`; its speed is the stage's mean unless given."""
        if self._current is None:
            return
        entry, now = self._stages[self._current], self._clock()
        if images_per_second is None:
            images_per_second = (iteration - entry.first) / max(now - entry.started, 1e-9)
        entry.iteration, entry.losses, entry.images_per_second = iteration, dict(losses or {}), images_per_second
        if now - self._spoke >= PLAIN_INTERVAL:
            self._spoke = now
            self._say(_plain_line(entry, now))

    def finish(self, stage: str, note: str = "") -> None:
        """End a stage, or mark one that never started as done before; `note` is its result in a few words."""
        entry = self._stages[stage]
        fresh = entry.state == "running"
        self._close(entry, "done", note)
        took = f"done in {_duration(entry.seconds)}" if fresh else "done before"
        self._say(f"{entry.title}: {took}" + (f", {note}" if note else ""))

    def print(self, renderable: RenderableType) -> None:
        """Print above the display, or as it is without one."""
        if not self._quiet:
            self._console.print(renderable)

    def _close(self, entry: _Stage, state: str, note: str) -> None:
        if entry.state == "running":
            entry.seconds = self._clock() - entry.started
            self._current = None
        entry.state, entry.note = state, note

    def _say(self, line: str) -> None:
        if not self._quiet and self._live is None:
            self._console.out(f"[{_duration(self._clock() - self._began)}] {line}", highlight=False)

    def _display(self) -> RenderableType:
        now = self._clock()
        stages = Table.grid(padding=(0, 2, 0, 0))
        stages.add_column(width=1)
        stages.add_column(no_wrap=True)
        stages.add_column(justify="right", style="dim", no_wrap=True)
        stages.add_column(overflow="ellipsis", no_wrap=True)
        for entry in self._stages.values():
            running = entry.state == "running"
            seconds = now - entry.started if running else entry.seconds
            stages.add_row(
                self._spinner if running else _MARKS[entry.state],
                Text(entry.title, style=_TITLES[entry.state]),
                _duration(seconds) if seconds else "",
                Text(entry.note, style=_NOTES.get(entry.state, "")),
            )
        parts: list[RenderableType] = [stages]
        if current := self._current:  # once: the display's thread reads while the run moves on
            parts += ["", _current(self._stages[current], now)]
        if notice := self._notice():
            parts += ["", Text(notice, "yellow")]
        return Padding(Group(*parts), (1, 1))


_MARKS = {
    "pending": Text("·", "dim"),
    "done": Text("✓", "green"),
    "failed": Text("✗", "red"),
    "stopped": Text("■", "yellow"),
}
_TITLES = {"pending": "dim", "running": "bold", "done": "", "failed": "bold", "stopped": "bold"}
_NOTES = {"failed": "red", "stopped": "yellow"}


def _current(entry: _Stage, now: float) -> RenderableType:
    """Lay out the running stage: its bar, its pace, its losses."""
    bar = Table.grid(expand=True, padding=(0, 2, 0, 0))
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True, justify="right")
    pulse = entry.total == 0
    bar.add_row(
        ProgressBar(total=entry.total or 1, completed=entry.iteration, pulse=pulse, complete_style="cyan"),
        Text(f"{entry.iteration:,} / {entry.total:,}")
        + Text(f"{_bracketed(_step(entry.iteration, entry.per_step))}   {_pace(entry, now)}", "dim"),
    )
    # Equal columns keep each loss in its place while its digits change.
    losses = [Text.assemble((name, "dim"), f" {value:#.4g}") for name, value in entry.losses.items()]
    return Group(bar, Columns(losses, equal=True, padding=(0, 3, 0, 0)))


def _plain_line(entry: _Stage, now: float) -> str:
    share = f"{100 * entry.iteration / entry.total:.0f}%" if entry.total else ""
    done = ", ".join(filter(None, (share, _step(entry.iteration, entry.per_step))))
    losses = "".join(f"  {name} {value:.4g}" for name, value in entry.losses.items())
    return f"{entry.title}: {entry.iteration:,}/{entry.total:,}{_bracketed(done)}  {_pace(entry, now)}{losses}"


def place(iteration: int, per_step: int) -> str:
    """Return where a training is: the iteration, which counts images, and the step where that is another number."""
    return f"iteration {iteration:,}{_bracketed(_step(iteration, per_step))}"


def _step(iteration: int, per_step: int) -> str:
    return f"step {math.ceil(iteration / per_step):,}" if per_step > 1 else ""


def _bracketed(text: str) -> str:
    return f" ({text})" if text else ""


def _pace(entry: _Stage, now: float) -> str:
    eta = entry.eta(now)
    speed = f"{entry.images_per_second:.1f} images/s"
    return speed if eta is None else f"{speed}   ETA {_duration(eta)}"


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
