"""The report's sections on how a run was trained: losses, pseudo labels; each is empty without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cirn_dist.report.blocks import NOTHING, cell, section, table
from cirn_dist.report.figures import loss_curves, meter, swatch
from cirn_dist.report.markup import Markup, join, tag
from cirn_dist.report.results import Results
from cirn_dist.report.table import DASH, percent
from cirn_dist.report.trackers import Metrics


def losses(logs: Mapping[str, Sequence[Metrics]], results: Results | None) -> Markup:
    """Show every stage's losses over its iterations."""
    titles = {row.stage: row.title for row in results.rows} if results else {}
    parts = []
    for stage, records in logs.items():
        if charts := loss_curves(records):
            title = titles.get(stage, stage.replace("_", " ").capitalize())
            speed = sum(record.images_per_second for record in records) / len(records)
            note = tag("small", f"{records[-1].iteration:,} iterations, {speed:.1f} images/s")
            parts.append(join(tag("h3", title, note), tag("div", *charts, class_="curves")))
    text = "Each logged value behind, the average of its neighbours in front; the number is the last average."
    return section("Losses", text, *parts) if parts else NOTHING


def pseudo_labels(kept: Mapping[str, Any], results: Results | None) -> Markup:
    """Show what share of each class's predicted pixels became pseudo labels, and from which confidence on."""
    if not {"classes", "kept", "thresholds"} <= kept.keys():
        return NOTHING
    colours = dict(zip(results.classes, results.palette, strict=True)) if results else {}
    body = [
        tag(
            "tr",
            tag("th", swatch(colours[name]) if name in colours else NOTHING, name, scope="row"),
            tag("td", meter(share or 0.0), class_="drawn"),
            cell(percent(share)),
            cell(DASH if threshold is None else f"{threshold:.3f}"),
        )
        for name, share, threshold in zip(kept["classes"], kept["kept"], kept["thresholds"], strict=True)
    ]
    text = "Pixels of each predicted class that are confident enough to train on."
    return section("Pseudo labels", text, table(("Class", "", "Kept, %", "Confidence"), body, class_="classes"))
