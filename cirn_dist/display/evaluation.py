"""A network's scores on a set, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cirn_dist.data.labels import LabelSpace
from cirn_dist.display.tables import percent
from cirn_dist.display.terminal import Listing
from cirn_dist.inference.score import Evaluation


def evaluation_table(found: Sequence[Evaluation], space: LabelSpace) -> RenderableType:
    """Lay out IoU per class and its means, in percent; a column for each evaluation of one set."""
    table = Listing(title=f"IoU, %, of {found[0].images:,} images")
    table.add_column("Class", no_wrap=True)
    for one in found:
        more = f" and {len(one.also)} more" if one.also else ""
        table.add_column(one.stage + more + (", AdaBN" if one.adabn else ""), justify="right", min_width=6)
    for at, (name, colour) in enumerate(zip(space.classes, space.palette, strict=True)):
        swatch = Text("■ ", style="#{:02x}{:02x}{:02x}".format(*colour))
        table.add_row(swatch + Text(name), *(percent(one.scores.iou[at]) for one in found))
    table.add_section()
    table.add_row("mIoU", *(Text(percent(one.scores.miou), style="bold") for one in found))
    for name in found[0].scores.subsets:
        table.add_row(f"mIoU, {name}", *(percent(one.scores.subsets[name]) for one in found))
    accuracy = ", ".join(percent(one.pixel_accuracy) for one in found)
    return Group(table, Text(f"pixels that are right, %: {accuracy}", style="dim"))
