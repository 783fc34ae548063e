"""The page that puts runs of several experiments side by side."""

from __future__ import annotations

from pathlib import Path

from cirn_dist.display.comparison import Comparison, shown, signed
from cirn_dist.display.tables import DASH, best, percent
from cirn_dist.display.terminal import value_text
from cirn_dist.files import replace_text
from cirn_dist.report.blocks import NOTHING, cell, section, table
from cirn_dist.report.figures import swatch
from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.report.page import page


def write_comparison(found: Comparison, file: Path) -> Path:
    """Write the page; returns the file."""
    body = [_means(found), _paired(found), _seeds(found), _classes(found), _settings(found)]
    replace_text(file, page("comparison", _header(found), body))
    return file


def _header(found: Comparison) -> Markup:
    runs = sum(len(one.runs) for one in found.experiments)
    seeds = sorted({one.seed for experiment in found.experiments for one in experiment.results})
    text = f"{runs:,} runs of {len(found.experiments)} experiments, seeds {', '.join(map(str, seeds))}."
    return tag(
        "header",
        tag("p", "cirn-dist · runs side by side", class_="over"),
        tag("h1", "Comparison"),
        tag("p", text, class_="headline"),
    )


def _means(found: Comparison) -> Markup:
    rows = []
    for stage, title in found.stages.items():
        scores = [one.miou(stage) for one in found.experiments]
        alike = all(one.keys() == scores[0].keys() for one in scores)  # a mean over other seeds is not higher or lower
        top = best([sum(one.values()) / len(one) for one in scores]) if alike and scores[0] else set()
        cells = (cell(shown(one), strong=i in top) for i, one in enumerate(scores))
        rows.append(tag("tr", tag("th", title, scope="row"), *cells))
    text = "Target mIoU in percent: mean ± sample standard deviation over the seeds, whose number is in brackets."
    return section("Results", text, table(("Stage", *_labels(found)), rows))


def _paired(found: Comparison) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", found.stages[one.stage], tag("small", one.label), scope="row"),
            cell(signed(one.spread)),
            cell(f"{100 * one.spread.low:+.1f} to {100 * one.spread.high:+.1f}"),
            cell(f"{one.gained} of {len(one.seeds)}"),
        )
        for one in found.differences
    ]
    if not rows:
        return NOTHING
    text = f"Points above {found.experiments[0].label}, in pairs of the same seed: what seeds have in common drops out."
    return section("Paired differences", text, table(("Stage", "Mean", "From, to", "Higher in"), rows))


def _seeds(found: Comparison) -> Markup:
    rows = []
    for one in found.experiments:
        for run, results in sorted(zip(one.runs, one.results, strict=True), key=lambda pair: pair[1].seed):
            known = {row.stage: row.miou for row in results.rows}
            cells = (cell(percent(known.get(stage))) for stage in found.stages)
            rows.append(
                tag("tr", tag("th", str(run), tag("small", one.label), scope="row"), cell(f"{results.seed}"), *cells)
            )
    return section("Every run", "Target mIoU in percent.", table(("Run", "Seed", *found.stages.values()), rows))


def _classes(found: Comparison) -> Markup:
    first = found.experiments[0].results[0]
    means = {stage: [one.class_means(stage) for one in found.experiments] for stage in found.stages}
    shared = [stage for stage, columns in means.items() if all(columns)]
    if not shared:
        return NOTHING
    columns = means[shared[-1]]
    rows = []
    for name, colour, *values in zip(first.classes, first.palette, *columns, strict=True):
        top = best(values)
        cells = (cell(percent(value), strong=i in top) for i, value in enumerate(values))
        rows.append(tag("tr", tag("th", swatch(colour), name, scope="row"), *cells))
    text = f"IoU per class after {found.stages[shared[-1]]}, in percent: means over the seeds."
    return section("Classes", text, table(("Class", *_labels(found)), rows, "classes"))


def _settings(found: Comparison) -> Markup:
    keys = sorted({key for one in found.experiments for key in one.settings})
    rows = [
        tag(
            "tr",
            tag("th", key, scope="row"),
            *(cell(value_text(one.settings.get(key)) or DASH) for one in found.experiments),
        )
        for key in keys
    ]
    text = "Settings that are not the same in all experiments."
    return section("What differs", text, table(("Setting", *_labels(found)), rows)) if rows else NOTHING


def _labels(found: Comparison) -> list[str]:
    return [one.label for one in found.experiments]
