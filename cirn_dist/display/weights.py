"""What an import of weights took from a file, as a table for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from cirn_dist.display.terminal import Listing
from cirn_dist.models.imported import Imported

SHOWN = 6


def import_table(found: Imported) -> RenderableType:
    """Lay out the parts that matched, what was left out, and how to use the file."""
    table = Listing()
    table.add_column("Part")
    table.add_column("Tensors", justify="right")
    table.add_column("Parameters", justify="right")
    table.add_column("", overflow="fold")
    for part in found.parts:
        table.add_row(part.name, f"{part.tensors:,}", f"{part.parameters:,}", part.note)
    return Group(table, *map(Text, _left_out(found.left_out)), Text(_use(found), overflow="fold"))


def _left_out(names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{len(names)} tensors left out: {', '.join(names[:SHOWN])}{more}"]


def _use(found: Imported) -> str:
    key = "model.segmenter" if found.parts[1].tensors else "model.weights"
    return f"use it as: model.backbone={found.backbone} {key}={found.path}"
