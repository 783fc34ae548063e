"""The report's sections on what came out: the header, the scores, the classes; and the run's details.

Each is a function from typed data to markup, empty without data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cirn_dist.display.tables import COLUMNS, DASH, best, class_rows, miou_cells, percent, teacher_lines
from cirn_dist.display.terminal import duration
from cirn_dist.report.blocks import NOTHING, cell, section, table
from cirn_dist.report.download import download
from cirn_dist.report.figures import dumbbell, stage_bars, swatch
from cirn_dist.report.headline import headline, key_numbers, points, scored
from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.rundir.results import Results
from cirn_dist.rundir.sets import SetFacts

# What of run.json and the configuration is worth a place beside the name.
_FACTS = {
    "Started": "started",
    "Version": "cirn_dist",
    "Method": "method",
    "Source": "data.source.recipe",
    "Target": "data.target.recipe",
    "Backbone": "model.backbone",
    "Weights": "model.weights",
    "Images per step": "engine.images_per_step",
}


def header(name: str, results: Results | None, known: Mapping[str, Any]) -> Markup:
    """Say what ran and, in a sentence and its numbers, what came out; `known` is by dotted key."""
    facts = {"Seed": str(results.seed)} if results else {}
    facts |= {label: _file_name(str(known[key])) for label, key in _FACTS.items() if known.get(key) is not None}
    if results and (seconds := sum(row.seconds for row in results.rows)):
        facts["Stages took"] = duration(seconds)
    chips = (tag("li", tag("span", label), value) for label, value in facts.items())
    return tag(
        "header",
        tag("p", "cirn-dist · unsupervised domain adaptation", class_="over"),
        tag("h1", name),
        tag("ul", *chips, class_="chips") if facts else NOTHING,
        tag("p", headline(results), class_="headline") if results else NOTHING,
        key_numbers(results) if results else NOTHING,
    )


def scores(results: Results) -> Markup:
    """Show mean IoU per stage beside its baselines, drawn and in numbers."""
    rows = scored(results)
    if not rows:
        return NOTHING
    winners = [best(column) for column in zip(*map(miou_cells, results.rows), strict=True)]
    body = []
    for i, row in enumerate(results.rows):
        numbers = zip(miou_cells(row), winners, strict=True)
        gain = "" if row.miou is None or row is rows[0] else f"{points(row.miou, rows[0].miou):+.1f}"
        control = tag("small", f"control: {row.control.title}") if row.control else NOTHING
        body.append(
            tag(
                "tr",
                tag("th", row.title, control, scope="row"),
                *(cell(percent(value), strong=i in top) for value, top in numbers),
                cell(gain or DASH),
                cell(f"{row.iterations:,}"),
                cell(duration(row.seconds) if row.seconds else DASH),
            )
        )
    heads = ("Stage", *COLUMNS, f"over {rows[0].title}", "Iterations", "Time")
    return section(
        "Results",
        "Mean intersection over union on the target's labelled images, in percent. AdaBN re-estimates the BatchNorm "
        "statistics on unlabelled target images and trains nothing. The control is trained as long, without the "
        "stage's idea.",
        stage_bars(results),
        table(heads, body),
        *(tag("p", f"{line}.") for line in teacher_lines(results)),
        download(results),
    )


def classes(results: Results) -> Markup:
    """Show every class's IoU after every stage, and its way from the first to the last."""
    rows = scored(results)
    if not any(row.iou for row in rows):
        return NOTHING
    body = []
    for name, colour, ious in zip(results.classes, results.palette, class_rows(results), strict=True):
        known = [value for row, value in zip(results.rows, ious, strict=True) if row in (rows[0], rows[-1])]
        top = best(ious)
        body.append(
            tag(
                "tr",
                tag("th", swatch(colour), name, scope="row"),
                tag("td", dumbbell(known[0], known[-1]), class_="drawn"),
                *(cell(percent(value), strong=i in top) for i, value in enumerate(ious)),
            )
        )
    scale = tag("div", tag("span", "0"), tag("span", "100"), class_="scale")
    heads = ("Class", scale, *(row.title for row in results.rows))
    text = f"IoU per class, in percent. The drawing goes from {rows[0].title} (ring) to {rows[-1].title} (dot). "
    text += "A dash: neither the labels nor the predictions have a pixel of it."
    return section("Classes", text, table(heads, body, class_="classes"))


def data(sets: Sequence[SetFacts]) -> Markup:
    """Show the shard sets a run read, and what was left out of them or cannot be learnt from them."""
    body = [
        tag(
            "tr",
            tag("th", one.role, scope="row"),
            tag("td", one.name),
            cell(f"{one.images:,}"),
            tag("td", one.classes or "no labels"),
            tag("td", *(tag("div", line) for line in one.told) if one.told else (DASH,)),
        )
        for one in sets
    ]
    text = "The images each part of the run read. What is told of a set was told when the run opened it, too."
    return section("Data", text, table(("Set", "Name", "Images", "Labels", "Told"), body, "record told"))


def details(facts: Mapping[str, Any], config: str) -> Markup:
    """Show what is known about the run, and its whole configuration, folded."""
    parts = []
    if facts:
        entries = (tag("div", tag("dt", str(key)), tag("dd", str(value))) for key, value in facts.items())
        parts.append(tag("details", tag("summary", "Run"), tag("dl", *entries, class_="facts")))
    if config:
        parts.append(tag("details", tag("summary", "Configuration"), tag("pre", config)))
    return tag("section", *parts) if parts else NOTHING


def _file_name(text: str) -> str:
    return Path(text).name if "/" in text else text
