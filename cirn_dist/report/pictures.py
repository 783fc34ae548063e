"""The report's sections of pictures; each is a function from what it shows to markup, empty without any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cirn_dist.data.labels import IGNORE
from cirn_dist.display.attention_maps import OPACITY, STOPS, overlay, read_map
from cirn_dist.display.panels import IGNORED, Pair, Panel, coloured, data_uri, figure_columns, opened, photo
from cirn_dist.report.blocks import NOTHING, picture, section
from cirn_dist.report.curves import nice_ticks
from cirn_dist.report.figures import swatch
from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.rundir.results import Results
from cirn_dist.rundir.scores import Worst

_RIGHT_WRONG_NONE = (226, 232, 230), (192, 57, 43), (120, 124, 132)


def panels(found: Sequence[Panel], results: Results) -> Markup:
    """Show target images beside the predictions before and after adaptation, the paper's Figure 4, and the errors."""
    if not found:
        return NOTHING
    stages = [row.stage for row in results.rows]
    rows = []
    for panel in found:
        (title, target), *maps = figure_columns(panel, stages)
        cells = [picture(title, data_uri(photo(target)))]
        cells += [picture(title, data_uri(coloured(path, results.palette)), "labels") for title, path in maps]
        if panel.label and (known := [path for title, path in maps if title != "Ground truth"]):
            cells.append(_errors(known[-1], panel.label))
        rows.append(tag("div", *cells, class_=f"pictures said of{len(cells)}"))
    text = "Target images and their segmentation. A class's name shows its pixels alone."
    return section("What it sees", text, _legend(results), *rows)


def sliders(found: Sequence[Panel], results: Results) -> Markup:
    """Show target images' predictions with and without adaptation under a slider; empty where there is but one."""
    stages = [row.stage for row in results.rows]
    cells = []
    for panel in found:
        maps = dict(figure_columns(panel, stages))
        ends = [maps[name] for name in ("Without adaptation", "Adapted") if name in maps]
        if len(ends) == 2:
            cells.append(_slider(*(data_uri(coloured(path, results.palette)) for path in ends)))
    text = "Left of the line without adaptation, right of it adapted."
    return section("Before and after", text, tag("div", *cells, class_="pairs")) if cells else NOTHING


def _slider(before: str, after: str) -> Markup:
    hand = tag("input", type="range", min="0", max="100", value="50", aria_label="How much is shown without adaptation")
    pictures = (
        tag("img", src=after, alt="Adapted", class_="labels"),
        tag("img", src=before, alt="Without adaptation", class_="labels over"),
    )
    return tag("div", *pictures, tag("i"), hand, class_="slider")


def worst(title: str, found: Sequence[Worst], results: Results) -> Markup:
    """Show the images that a stage predicts worst."""
    rows = []
    for one in found:
        cells = [
            picture(f"Image {one.place}", data_uri(photo(one.target))),
            picture("Prediction", data_uri(coloured(one.prediction, results.palette)), "labels"),
            picture("Ground truth", data_uri(coloured(one.label, results.palette)), "labels"),
            _errors(one.prediction, one.label, one.accuracy),
        ]
        rows.append(tag("div", *cells, class_="pictures said of4"))
    text = f"The scored images that {title} gets wrong most, by the share of their labelled pixels that is right."
    return section("Worst images", text, _legend(results), *rows)


def _errors(prediction: Path, label: Path, accuracy: float | None = None) -> Markup:
    """Show where a prediction is wrong; what has no label is left out."""
    ids, truth = np.asarray(opened(prediction)), np.asarray(opened(label))
    counted = truth != IGNORE
    wrong = (ids != truth) & counted
    share = 1 - wrong.sum() / max(counted.sum(), 1) if accuracy is None else accuracy
    image = Image.fromarray(np.where(counted, wrong.astype(np.uint8), np.uint8(2)))
    image.putpalette([value for colour in _RIGHT_WRONG_NONE for value in colour])
    return picture(f"Errors: {100 * share:.0f} % right", data_uri(image), "labels errors")


def _legend(results: Results) -> Markup:
    """Name the classes' colours; each is a button that filters the section's label maps."""
    colours = zip(results.classes, results.palette, strict=True)
    keys = [
        tag("button", swatch(colour), name, type="button", aria_pressed="false", data_colour="{} {} {}".format(*colour))
        for name, colour in colours
    ]
    return tag("p", *keys, tag("span", swatch(IGNORED), "ignored"), class_="keys filter")


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
