"""What is printed: in full where no terminal is, and on a narrow terminal in lines where a table does not fit."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from cirn_dist.errors import one_line

_UNLIMITED = 10_000  # columns
_LEAST = 24  # columns of a text that may wrap


def standard_output() -> Console:
    """Return the console of standard output: as wide as its terminal; a pipe or a file gets whole lines, plain."""
    # Rich takes FORCE_COLOR for a terminal, and 80 columns for the width of a file.
    return Console() if sys.stdout.isatty() else Console(force_terminal=False, no_color=True, width=_UNLIMITED)


def show(renderable: RenderableType = "") -> None:
    """Print to standard output."""
    standard_output().print(renderable)


class Listing(Table):
    """A table of which nothing is ever cut: below the width that its columns need, every row becomes lines.

    A column with `overflow="fold"` may wrap between words, down to its longest word; the others keep their cells whole.

    Args:
        headers: of the first columns; more may be added.
        title: a line above it.
        ruled: with a line below the headings.
        settings: of `rich.table.Table`.
    """

    def __init__(self, *headers: Column | str, title: str = "", ruled: bool = True, **settings: Any) -> None:
        super().__init__(*headers, box=box.SIMPLE_HEAD if ruled else None, pad_edge=False, **settings)
        self.heading = title

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        """Add a row; text is shown as it is: names of files may hold line ends, markup, commands to the terminal."""
        super().add_row(*(_plain(cell) for cell in cells), **settings)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.heading:
            yield Text(self.heading, "bold")
        widths = self._widths(console, options)
        if widths is None:
            yield from self._lines()
            return
        given = [column.width for column in self.columns]
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
        try:
            yield from list(super().__rich_console__(console, options))
        finally:
            for column, before in zip(self.columns, given, strict=True):
                column.width = before

    def _widths(self, console: Console, options: ConsoleOptions) -> list[int] | None:
        """Return each column's width, None where they do not fit."""
        free = options.update(width=_UNLIMITED, max_width=_UNLIMITED)
        whole = super().__rich_measure__(console, free).maximum
        pairs = [self._needs(console, free, column) for column in self.columns]
        needed, wished = [least for least, _ in pairs], [most for _, most in pairs]
        spare = options.max_width - sum(needed) - (whole - sum(wished))
        if spare < 0:
            return None
        wanting = sum(wished) - sum(needed)
        share = min(1.0, spare / wanting) if wanting else 0.0
        return [least + int(share * (most - least)) for least, most in pairs]

    def _needs(self, console: Console, free: ConsoleOptions, column: Column) -> tuple[int, int]:
        """Return the least width at which no word of a column is broken, and the width at which nothing wraps."""
        head = Measurement.get(console, free, column.header) if self.show_header else Measurement(0, 0)
        cells = [Measurement.get(console, free, cell) for cell in column.cells]
        widest = max((cell.maximum for cell in cells), default=0)
        word = max((cell.minimum for cell in cells), default=0)
        least = max(word, min(widest, _LEAST)) if column.overflow == "fold" else widest
        floor = column.min_width or 0
        return max(least, head.minimum, floor), max(widest, head.maximum, floor)

    def _lines(self) -> Iterator[Text | Table]:
        """Yield every row as its first cell and, below it, a line for each other cell that is not empty."""
        names = [" ".join(str(column.header).split()) for column in self.columns]
        rows = zip(*(column.cells for column in self.columns), strict=True)
        before: Any = ""
        for number, (first, *others) in enumerate(rows):
            if number:
                yield Text()
            before = first if str(first) else before  # a table says once what several rows have in common
            yield Text.assemble(before if isinstance(before, Text) else str(before), style="bold")
            block = Table.grid(padding=(0, 1, 0, 0))
            block.add_column(style="dim", no_wrap=True)
            block.add_column(overflow="fold")
            for name, cell in zip(names[1:], others, strict=True):
                if not isinstance(cell, str | Text) or cell:
                    block.add_row(f"  {name}:" if name else " ", cell)
            yield block


def _plain(cell: RenderableType | None) -> RenderableType | None:
    if not isinstance(cell, str | Text):
        return cell
    text, style = (cell, "") if isinstance(cell, str) else (cell.plain, cell.style)
    shown = "\n".join(map(one_line, text.split("\n")))
    return cell if isinstance(cell, Text) and shown == text else Text(shown, style=style)


def duration(seconds: float) -> str:
    """Write a time as people say it: 0.4 s, 48 s, 3 min 20 s, 5 h 12 min."""
    if 0 < seconds < 0.95:  # what rounds to 1.0 is a whole second
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute} min"
    return f"{minute} min {second} s" if minute else f"{second} s"


def value_text(value: Any) -> str:
    """Write a setting as one reads it: 1280x720, 0.00025, none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        joiner = "x" if len(value) == 2 and all(isinstance(part, int) for part in value) else ", "
        return joiner.join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
