"""The figures of the report, as markup: bars, a dumbbell per class; all follow the page's colours and width."""

from __future__ import annotations

import math

from cirn_dist.display.tables import percent
from cirn_dist.report.html_tags import Markup, join, tag
from cirn_dist.rundir.results import Results, Row


def stage_bars(results: Results) -> Markup:
    """Draw a bar of mean IoU per stage, source only to final, with its AdaBN and control baselines as markers."""
    scored = [row for row in results.rows if row.miou is not None]
    reached = [score for row in scored for score in (row.miou, *(score for _, _, score in _markers(row))) if score]
    end = _round_up(max(reached, default=1.0))
    bars = join(*(_bar(row, end, last=row is scored[-1]) for row in scored))
    kinds = {kind: title for row in scored for kind, title, _ in _markers(row)}
    keys = (tag("span", tag("i", class_=f"mark {kind}"), title) for kind, title in kinds.items())
    axis = tag("div", *(tag("span", f"{100 * end * i / 4:g}") for i in range(5)), class_="axis")
    legend = tag("p", tag("span", tag("i", class_="mark bar"), "mIoU"), *keys, class_="keys")
    return tag("figure", bars, tag("div", tag("span"), axis, tag("span"), class_="bar-row"), legend, class_="bars")


def _bar(row: Row, end: float, *, last: bool) -> Markup:
    markers = (
        tag("i", class_=f"mark {kind}", style=f"left:{_share(score, end)}", title=f"{title} {percent(score)}")
        for kind, title, score in _markers(row)
    )
    fill = tag("div", class_="fill last" if last else "fill", style=f"width:{_share(row.miou or 0, end)}")
    return tag(
        "div",
        tag("span", row.title, class_="name"),
        tag("div", fill, *markers, class_="track"),
        tag("b", percent(row.miou), class_="num"),
        class_="bar-row",
    )


def _markers(row: Row) -> list[tuple[str, str, float]]:
    control, control_adabn = row.control, row.control.adabn if row.control else None
    found = [("adabn", "AdaBN", row.adabn), ("control", "Control", control), ("both", "Control AdaBN", control_adabn)]
    return [(kind, title, scores.miou) for kind, title, scores in found if scores and scores.miou is not None]


def dumbbell(first: float | None, last: float | None) -> Markup:
    """Draw one class's way from its first to its last IoU on a scale from 0 to 1."""
    if first is None or last is None:
        return Markup("")
    low, high = sorted((first, last))
    way = "gain" if last >= first else "loss"
    return tag(
        "div",
        tag("i", class_=f"way {way}", style=f"left:{_share(low)};width:{_share(high - low)}"),
        tag("i", class_="dot from", style=f"left:{_share(first)}"),
        tag("i", class_=f"dot {way}", style=f"left:{_share(last)}"),
        class_="dumbbell",
    )


def meter(fraction: float) -> Markup:
    """Draw a fraction as a thin bar."""
    return tag("div", tag("i", style=f"width:{_share(min(max(fraction, 0), 1))}"), class_="meter")


def swatch(colour: tuple[int, int, int]) -> Markup:
    """Draw a class's colour."""
    return tag("i", class_="swatch", style="background:#{:02x}{:02x}{:02x}".format(*colour))


def _round_up(fraction: float) -> float:
    """Round up to a multiple of 0.2, the end of an axis in quarters."""
    return math.ceil(fraction / 0.2 - 1e-9) * 0.2


def _share(fraction: float, end: float = 1.0) -> str:
    return f"{100 * fraction / end:.2f}%"
