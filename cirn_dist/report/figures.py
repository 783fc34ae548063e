"""The figures of the report, as markup: bars, a dumbbell per class, curves; all follow the page's colours and width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from cirn_dist.report.markup import Markup, join, tag
from cirn_dist.report.results import Results, Row
from cirn_dist.report.table import percent
from cirn_dist.report.trackers import Metrics

Points = list[tuple[float, float]]

_WIDTH, _HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 8, 10, 20
_MOST_POINTS = 240


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


def loss_curves(records: Sequence[Metrics]) -> list[Markup]:
    """Draw a small chart for every loss of a stage: raw and faint behind, smoothed in front."""
    names = dict.fromkeys(name for record in records for name in record.losses)
    charts = []
    for name in names:
        values = ((record.iteration, record.losses.get(name)) for record in records)
        points = [(float(iteration), value) for iteration, value in values if value is not None]
        if len(points) > 1:
            charts.append(curve(name, points))
    return charts


def curve(name: str, points: Points) -> Markup:
    """Draw one loss over the iterations as inline SVG, its last smoothed value beside its name."""
    smooth = smoothed(points)
    ticks = nice_ticks(*_value_range([value for _, value in points], [value for _, value in smooth]))
    (first, last), (low, high) = (points[0][0], points[-1][0]), (ticks[0], ticks[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        share = min(max((y - low) / (high - low), 0), 1)
        return _LEFT + (right - _LEFT) * (x - first) / ((last - first) or 1), bottom - (bottom - _TOP) * share

    def line(path: Points, class_: str) -> Markup:
        return tag("polyline", points=" ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in path), class_=class_)

    grid = [
        join(
            tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=at(first, tick)[1], y2=at(first, tick)[1], class_="grid"),
            tag("text", f"{tick:g}", x=_LEFT - 6, y=at(first, tick)[1] + 3.5, text_anchor="end"),
        )
        for tick in ticks
    ]
    ends = join(
        tag("text", _count(first), x=_LEFT, y=_HEIGHT - 5),
        tag("text", _count(last), x=_WIDTH - _RIGHT, y=_HEIGHT - 5, text_anchor="end"),
    )
    drawing = tag(
        "svg",
        *grid,
        ends,
        line(thinned(points), "raw"),
        line(thinned(smooth), "smooth"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{name} over iterations",
    )
    caption = tag("figcaption", tag("span", name), tag("b", f"{smooth[-1][1]:.3g}", class_="num"))
    return tag("figure", caption, drawing, class_="curve")


def smoothed(points: Points) -> Points:
    """Average over the neighbours, a fortieth of the curve on either side; at its ends over those that are there."""
    reach = max(1, len(points) // 40)
    sums = list(accumulate((y for _, y in points), initial=0.0))
    spans = ((max(i - reach, 0), min(i + reach + 1, len(points))) for i in range(len(points)))
    return [
        (x, (sums[stop] - sums[start]) / (stop - start)) for (x, _), (start, stop) in zip(points, spans, strict=True)
    ]


def thinned(points: Points) -> Points:
    """Keep some 240 points, evenly spaced, the last among them: more than the chart has pixels is only weight."""
    stride = max(1, len(points) // _MOST_POINTS)
    return points[(len(points) - 1) % stride :: stride]


def nice_ticks(low: float, high: float) -> list[float]:
    """Find 3 to 5 round numbers that enclose the range, steps of 1, 2, 2.5 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= span / 3)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.6g}") for i in range(start, max(stop, start + 1) + 1)]


def _value_range(raw: Sequence[float], smooth: Sequence[float]) -> tuple[float, float]:
    """Cover the smoothed curve and all but the wildest hundredth of the raw one, at either end."""
    ordered = sorted(raw)
    cut = len(ordered) // 100
    return min(ordered[cut], *smooth), max(ordered[-1 - cut], *smooth)


def _round_up(fraction: float) -> float:
    """Round up to a multiple of 0.2, the end of an axis in quarters."""
    return math.ceil(fraction / 0.2 - 1e-9) * 0.2


def _share(fraction: float, end: float = 1.0) -> str:
    return f"{100 * fraction / end:.2f}%"


def _count(iterations: float) -> str:
    return f"{iterations / 1000:g}k" if iterations >= 10_000 else f"{iterations:g}"
