"""The confusion matrix: what the pixels of each class were taken for."""

from __future__ import annotations

from collections.abc import Sequence

from cirn_dist.report.blocks import NOTHING, section, table
from cirn_dist.report.figures import swatch
from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.rundir.results import Results


def confusion(title: str, counts: Sequence[Sequence[int]], results: Results) -> Markup:
    """Show a stage's matrix, each row in percent of the class's labelled pixels.

    Args:
        counts: pixels by (true class, predicted class), (C, C).
    """
    every = sum(map(sum, counts))
    if not every:
        return NOTHING
    names = list(zip(results.classes, results.palette, strict=True))
    rows = []
    for true, ((name, colour), row) in enumerate(zip(names, counts, strict=True)):
        whole = sum(row)
        share = f"{100 * whole / every:.1f} % of pixels" if whole else "not in the labels"
        cells = [_cell(value / whole if whole else 0.0, at == true) for at, value in enumerate(row)]
        rows.append(tag("tr", tag("th", swatch(colour), name, tag("small", share), scope="row"), *cells))
    text = (
        f"What the pixels of each class (rows) were taken for by {title} (columns), in percent of the class's labelled "
        "pixels; less than half a percent is left empty."
    )
    return section("Confusion", text, table(("", *results.classes), rows, "matrix"))


def _cell(share: float, right: bool) -> Markup:
    shown = f"{100 * share:.0f}" if share >= 0.005 else ""
    return tag("td", shown, class_="right" if right else "wrong", style=f"--share:{100 * share:.0f}%")
