"""The report's sections on how a run was trained: losses, what is watched beside them, scores, pseudo labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cirn_dist.display.tables import CHOSEN_BY_LABELS, DASH, outweighed, percent
from cirn_dist.report.blocks import NOTHING, cell, section, table
from cirn_dist.report.curves import Points, curve, lines, loss_curves, nested, series
from cirn_dist.report.figures import meter, swatch
from cirn_dist.report.html_tags import Markup, join, tag
from cirn_dist.rundir.metrics import Metrics
from cirn_dist.rundir.results import Curve, Results

LEAST_SPAN = 5.0  # percent

Logs = Mapping[str, Sequence[Metrics]]


def losses(logs: Logs, titles: Mapping[str, str]) -> Markup:
    """Show every stage's losses over its iterations, under its title."""
    parts = []
    for stage, records in logs.items():
        if charts := loss_curves(records):
            if rates := series((record.iteration, record.rates) for record in records):
                charts.append(lines("Learning rates", rates, smooth=False))
            speed = sum(record.images_per_second for record in records) / len(records)
            note = tag("small", f"{records[-1].iteration:,} iterations (images of each domain), {speed:.1f} images/s")
            parts.append(join(tag("h3", titles.get(stage, stage), note), tag("div", *charts, class_="curves")))
    text = "Each logged value behind, the average of its neighbours in front; the number is the last in front."
    return section("Losses", text, *parts) if parts else NOTHING


def diagnostics(logs: Logs, titles: Mapping[str, str]) -> Markup:
    """Show what the authors judge convergence by, and what C and ACM do, for every adversarial stage."""
    text = (
        "What the paper judges convergence by: D's mean probability that a prediction comes from the CIR. At 0.5 on "
        "both domains D cannot tell them apart. R is the distance of C's and ACM's predictions at a target pixel, 0 "
        "where they agree; a pixel's adversarial loss grows with it. The weight cosine compares their parameters."
    )
    return _observed("Adversarial adaptation", text, logs, titles, _watched)


def teachers(logs: Logs, titles: Mapping[str, str]) -> Markup:
    """Show how certain the teacher of online self-training is, which the weight of its labels follows."""

    def certain(observed: Mapping[str, Points]) -> list[Markup]:
        shares = {name: points for name, points in observed.items() if name == "certain"}
        return [lines("Target pixels it is certain of, share", shares, span=(0, 1))] if shares else []

    text = "The teacher labels every pixel of a target image; their weight is the share of those it is certain of."
    return _observed("The teacher", text, logs, titles, certain)


def _observed(
    heading: str,
    text: str,
    logs: Logs,
    titles: Mapping[str, str],
    drawn: Callable[[Mapping[str, Points]], list[Markup]],
) -> Markup:
    """Show what is drawn of each stage's observations, under its title; no section where nothing is."""
    parts = []
    for stage, records in logs.items():
        if charts := drawn(series((record.iteration, record.observed) for record in records)):
            parts.append(join(tag("h3", titles.get(stage, stage)), tag("div", *charts, class_="curves wide")))
    return section(heading, text, *parts) if parts else NOTHING


def _watched(observed: Mapping[str, Points]) -> list[Markup]:
    charts = []
    domains = {"on the CIR": "d_intermediate", "on the target": "d_target"}
    if sides := {label: observed[name] for label, name in domains.items() if name in observed}:
        charts.append(lines("D's probability of the CIR", sides, span=(0, 1), level=0.5))
    if "r_mean" in observed:
        charts.append(curve("R, mean over target pixels", observed["r_mean"]))
    above = {name.removeprefix("r_above_"): points for name, points in observed.items() if name.startswith("r_above_")}
    if above and max(value for points in above.values() for _, value in points) > 0:  # or the frame would be empty
        shares = {f"R > {level}": above[level] for level in sorted(above, key=float)}
        charts.append(nested("Pixels above R, share", shares))
    if "weight_cosine" in observed:
        charts.append(lines("Cosine of C's and ACM's weights", {"cosine": observed["weight_cosine"]}, level=0))
    gates = {name.replace("gate_", "gate "): points for name, points in observed.items() if name.startswith("gate_")}
    if gates:
        charts.append(lines("Attention modules, mean", gates, level=0.5))
    return charts


def best_and_last(results: Results, curves: Mapping[str, Curve]) -> Markup:
    """Show each stage's scores while it trained, the best beside the last, and what the best is worth."""
    chosen = [(row, row.best) for row in results.rows if row.best is not None]
    if not chosen:
        return NOTHING
    body = [
        tag(
            "tr",
            tag("th", row.title, scope="row"),
            cell(percent(row.miou), strong=True),
            cell(percent(best.miou)),
            cell(f"{best.iteration:,}"),
            cell(f"{best.of:,}"),
        )
        for row, best in chosen
    ]
    charts = []
    for row, best in chosen:
        points = curves.get(row.stage, Curve()).points.items()
        percents = [(i, {"mIoU, %": None if s.miou is None else 100 * s.miou}) for i, s in sorted(points)]
        if drawn := series(percents):
            values = [value for _, value in drawn["mIoU, %"]]
            spare = max(0.0, LEAST_SPAN - (max(values) - min(values))) / 2  # noise of a tenth must not fill a chart
            span, top = (min(values) - spare, max(values) + spare), (float(best.iteration), 100 * (best.miou or 0.0))
            charts.append(lines(row.title, drawn, span=span, dot=top, smooth=False))
    return section(
        "Best and last",
        "Mean IoU on the target's labelled images in the course of each stage, in percent; the dot is the best.",
        tag("p", CHOSEN_BY_LABELS, class_="warning"),
        table(("Stage", "Last", "Best", "Best at iteration", "Scores"), body),
        tag("div", *charts, class_="curves") if charts else NOTHING,
    )


def pseudo_labels(rounds: Sequence[Mapping[str, Any]], results: Results | None) -> Markup:
    """Show what share of each class's predicted pixels became pseudo labels, and from which confidence on.

    Args:
        rounds: the summary of each round of stage 3.
    """
    known = [kept for kept in rounds if {"classes", "kept", "thresholds"} <= kept.keys()]
    colours = dict(zip(results.classes, results.palette, strict=True)) if results else {}
    parts = []
    for number, kept in enumerate(known, start=1):
        predicted = kept.get("predicted", [None] * len(kept["classes"]))
        labelled = kept.get("labelled", [None] * len(kept["classes"]))
        shares = [None if of_all == 0 else share for share, of_all in zip(kept["kept"], predicted, strict=True)]
        body = [
            tag(
                "tr",
                tag("th", swatch(colours[name]) if name in colours else NOTHING, name, scope="row"),
                tag("td", meter(share or 0.0), class_="drawn"),
                cell(percent(share)),
                cell(percent(of_all)),
                cell(percent(of_labels)),
                cell(DASH if threshold is None else f"{threshold:.3f}"),
            )
            for name, share, of_all, of_labels, threshold in zip(
                kept["classes"], shares, predicted, labelled, kept["thresholds"], strict=True
            )
        ]
        if len(known) > 1:
            parts.append(tag("h3", f"Round {number}"))
        headings = ("Class", "", "Kept, %", "Predicted, %", "Of labels, %", "Confidence")
        parts.append(table(headings, body, class_="classes"))
        if "ignored" in kept:
            parts.append(tag("p", f"{percent(kept['ignored'])} % of all pixels have no label.", class_="note"))
        if told := outweighed(kept):
            parts.append(tag("p", told, class_="warning"))
    text = (
        "Which share of the pixels predicted as a class is confident enough to train on; how much of all pixels was "
        "predicted as it, and how much of all labels it is; and the least confidence that was kept."
    )
    return section("Pseudo labels", text, *parts) if parts else NOTHING
