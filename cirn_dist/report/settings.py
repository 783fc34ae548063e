"""A configuration's settings beside the paper's statements of them, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cirn_dist.paper import Judged
from cirn_dist.report.terminal import Listing

SOURCES = {"paper": "paper", "lineage": "its lineage", "ours": "our choice"}


def settings_table(settings: Iterable[Judged]) -> Listing:
    """Lay out each setting, its value, what the paper or its lineage says, and whether it departs from that."""
    table = Listing()
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("Source", no_wrap=True)
    table.add_column("What it says", overflow="fold")
    section = ""
    for one in settings:
        head = one.key.partition(".")[0]
        if section and head != section:
            table.add_section()
        section = head
        sign = "marked: " if one.marked else "DIFFERS: "
        says = one.statement.says + (f"; {sign}{one.differs}" if one.differs else "")
        style = "yellow" if one.differs and not one.marked else None
        table.add_row(one.key, value_text(one.value), SOURCES[one.statement.source], says, style=style)
    return table


def value_text(value: Any) -> str:
    """Write a setting as one reads it: 1280x720, 0.00025, none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        joiner = "x" if len(value) == 2 and all(isinstance(part, int) for part in value) else ", "
        return joiner.join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
