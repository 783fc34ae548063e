"""The report's sections of pictures; each is a function from what it shows to markup, empty without any."""

from __future__ import annotations

from collections.abc import Sequence

from cirn_dist.display.attention_maps import OPACITY, STOPS, overlay, read_map
from cirn_dist.display.panels import IGNORED, Pair, Panel, coloured, data_uri, figure_columns, photo
from cirn_dist.report.blocks import NOTHING, picture, section
from cirn_dist.report.curves import nice_ticks
from cirn_dist.report.figures import swatch
from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.rundir.results import Results


def panels(found: Sequence[Panel], results: Results) -> Markup:
    """Show target images beside the predictions before and after adaptation, the paper's Figure 4."""
    if not found:
        return NOTHING
    stages = [row.stage for row in results.rows]
    rows = []
    for panel in found:
        (title, target), *maps = figure_columns(panel, stages)
        cells = [picture(title, data_uri(photo(target)))]
        cells += [picture(title, data_uri(coloured(path, results.palette)), "labels") for title, path in maps]
        rows.append(tag("div", *cells, class_=f"pictures of{len(cells)}"))
    colours = [*zip(results.classes, results.palette, strict=True), ("ignored", IGNORED)]
    legend = tag("p", *(tag("span", swatch(colour), name) for name, colour in colours), class_="keys")
    return section("What it sees", "Target images and their segmentation.", legend, *rows)


def gates(found: Sequence[Panel], results: Results) -> Markup:
    """Show ACM's attention maps over the target images they belong to, of the first stage that has some."""
    stage, title = next(
        ((row.stage, row.title) for row in results.rows if any(row.stage in panel.gates for panel in found)), ("", "")
    )
    maps = {panel.name: [read_map(path) for path in panel.gates.get(stage, ())] for panel in found}
    every = [values for of_image in maps.values() for values in of_image]
    if not every:
        return NOTHING
    ticks = nice_ticks(min(float(v.min()) for v in every), max(float(v.max()) for v in every))
    span = ticks[0], ticks[-1]
    rows = []
    for panel in found:
        image = photo(panel.target)
        cells = [picture("Target image", data_uri(image))]
        for k, values in enumerate(maps[panel.name], start=1):
            caption = f"Gate {k}, mean {values.mean():.3f}"
            cells.append(picture(caption, data_uri(overlay(image, values, span))))
        rows.append(tag("div", *cells, class_=f"pictures said of{max(4, len(cells))}"))
    text = (
        f"The attention modules of ACM after {title}: how much of the features at a pixel each lets through to the "
        "classifier. All maps share one scale, which runs over what they reach within [0, 1]."
    )
    return section("Attention maps", text, scale(span, "Gate"), *rows)


def pairs(found: Sequence[Pair]) -> Markup:
    """Show source images beside their CIR."""
    if not found:
        return NOTHING
    cells = (
        tag(
            "div",
            picture("Source", data_uri(photo(pair.source))),
            picture("CIR", data_uri(photo(pair.cir))),
            class_="pictures of2",
        )
        for pair in found
    )
    text = "Source images, and the same scenes in the target's appearance: the content-invariant representation."
    return section("Source to CIR", text, tag("div", *cells, class_="pairs"))


def scale(span: tuple[float, float], name: str) -> Markup:
    """Draw the colour scale with its numbers."""
    low, high = span
    colours = OPACITY * STOPS + (1 - OPACITY) * 128
    stops = ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in colours)
    numbers = (tag("span", f"{low + (high - low) * place:.3g}") for place in (0, 0.25, 0.5, 0.75, 1))
    bar = tag("i", style=f"background:linear-gradient(90deg, {stops})")
    return tag("div", tag("span", name), tag("div", bar, tag("div", *numbers, class_="scale")), class_="heat")
