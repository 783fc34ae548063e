"""The results as tables for a terminal: one of mean IoU with its baselines, one of the classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cirn_dist.display.terminal import Listing
from cirn_dist.rundir.results import Results, Row, Scores

DASH = "–"
CHOSEN_BY_LABELS = "The best is chosen by the target's labels: it is not an unsupervised result, the last is."
COLUMNS = ("mIoU", "AdaBN", "Control", "Control AdaBN")


def percent(fraction: float | None) -> str:
    """Format a fraction in percent with one decimal, an en dash where there is no score."""
    return DASH if fraction is None else f"{100 * fraction:.1f}"


def miou_cells(row: Row) -> tuple[float | None, ...]:
    """Give a row's mean IoUs in the order of COLUMNS."""
    control: Scores | None = row.control
    control_adabn = row.control.adabn if row.control else None
    return tuple(scores.miou if scores else None for scores in (row, row.adabn, control, control_adabn))


def best(values: Sequence[float | None]) -> set[int]:
    """Find where the highest of several scores is, as printed: equal ones are all marked, none where all are equal."""
    known = {i: float(percent(value)) for i, value in enumerate(values) if value is not None}
    top = max(known.values(), default=0.0)
    return {i for i, value in known.items() if value == top} if top > min(known.values(), default=0.0) else set()


def results_table(results: Results) -> RenderableType:
    """Lay out the run's results: mean IoU per stage with its baselines, then IoU per class; both in percent."""
    if not results.rows:
        return Text("No stage is scored yet.", style="dim")
    if all(value is None for row in results.rows for value in miou_cells(row)):
        return Text("The target has no labels, so no stage is scored.", style="dim")
    return Group(_stages(results), *_taught(results), *_chosen(results), Text(), _classes(results))


def teacher_lines(results: Results) -> list[str]:
    """Say what the teachers of online self-training score beside their students."""
    return [
        f"{row.title}: the student, which is the result, {percent(row.miou)}; its teacher {percent(row.teacher.miou)}"
        for row in results.rows
        if row.teacher is not None and row.teacher.miou is not None
    ]


def _taught(results: Results) -> list[Text]:
    return [Text(line, style="dim") for line in teacher_lines(results)]


def _chosen(results: Results) -> list[Text]:
    """Say what the best of a stage's scores was, and what that number is worth."""
    lines = [
        f"{row.title}: last {percent(row.miou)}, best {percent(row.best.miou)} of {row.best.of} scores, "
        f"at iteration {row.best.iteration:,}"
        for row in results.rows
        if row.best is not None
    ]
    if lines:
        lines.append(CHOSEN_BY_LABELS)
    return [Text(line, style="dim") for line in lines]


def pseudo_label_table(summary: Mapping[str, Any]) -> RenderableType:
    """Lay out the share of each class's predicted pixels that became pseudo labels, and from which confidence on."""
    table = Listing(title="Pseudo labels")
    table.add_column("Class", no_wrap=True)
    for heading in ("Predicted, %", "Kept, %", "Of labels, %", "Confidence"):
        table.add_column(heading, justify="right")
    columns = (summary[key] for key in ("classes", "predicted", "kept", "labelled", "thresholds"))
    for name, predicted, kept, labelled, threshold in zip(*columns, strict=True):
        shares = (percent(predicted), percent(kept if predicted else None), percent(labelled))
        table.add_row(name, *shares, f"{threshold:.3f}")
    told = outweighed(summary)
    return Group(table, Text(told, style="yellow")) if told else table


def outweighed(summary: Mapping[str, Any]) -> str:
    """Name the classes whose share of the pseudo labels is below three quarters of that of the predictions, if any.

    A threshold that keeps all of the sure classes and half of the others teaches the network that those are rarer.
    """
    if not {"predicted", "labelled"} <= summary.keys():  # written by an earlier version
        return ""
    columns = (summary[key] for key in ("classes", "predicted", "labelled"))
    fewer = [name for name, predicted, labelled in zip(*columns, strict=True) if labelled < 0.75 * predicted]
    if not fewer:
        return ""
    return (
        f"{', '.join(fewer)}: rarer among the labels than among the predictions, and the network will learn so; "
        "rule crst, with a smaller portion, keeps the same share of every class."
    )


def _stages(results: Results) -> Listing:
    table = Listing(title="Target mIoU, %")
    table.add_column("Stage", overflow="fold")
    for heading in COLUMNS:
        table.add_column(heading, justify="right", min_width=5)
    rows = [miou_cells(row) for row in results.rows]
    columns = [_marked(column) for column in zip(*rows, strict=True)]
    for row, *cells in zip(results.rows, *columns, strict=True):
        table.add_row(Text(row.title), *cells)
    return table


def _classes(results: Results) -> Listing:
    table = Listing(title="Target IoU per class, %")
    table.add_column("Class", no_wrap=True)
    for row in results.rows:
        table.add_column(Text(row.title), justify="right", min_width=5)
    for name, red_green_blue, ious in zip(results.classes, results.palette, class_rows(results), strict=True):
        swatch = Text("■ ", style="#{:02x}{:02x}{:02x}".format(*red_green_blue))
        table.add_row(swatch + Text(name), *_marked(ious))
    for name in dict.fromkeys(name for row in results.rows for name in row.subsets):
        table.add_section()
        table.add_row(f"mIoU, {name}", *_marked([row.subsets.get(name) for row in results.rows]))
    return table


def class_rows(results: Results) -> list[tuple[float | None, ...]]:
    """Give, for each class, its IoU after every stage."""
    blank = (None,) * len(results.classes)
    return list(zip(*(row.iou or blank for row in results.rows), strict=True))


def _marked(values: Sequence[float | None]) -> Iterator[Text]:
    winners = best(values)
    return (Text(percent(value), style="bold" if i in winners else "") for i, value in enumerate(values))
