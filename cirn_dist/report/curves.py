"""Charts over iterations, as inline SVG: one curve with its raw values, several lines, nested areas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from cirn_dist.report.html_tags import Markup, join, tag
from cirn_dist.report.names import LOSSES
from cirn_dist.rundir.metrics import Metrics

Points = list[tuple[float, float]]

_WIDTH, _HEIGHT = 300, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 8, 10, 20
_MOST_POINTS = 240


@dataclass(frozen=True)
class _Frame:
    """The ranges a chart shows: iterations from `first` to `last`, values over the `ticks`."""

    first: float
    last: float
    ticks: Sequence[float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return a value's place; what lies beyond the ticks is put on the edge."""
        low, high, bottom = self.ticks[0], self.ticks[-1], _HEIGHT - _BOTTOM
        share = min(max((y - low) / (high - low), 0), 1)
        along = (x - self.first) / ((self.last - self.first) or 1)
        return _LEFT + (_WIDTH - _RIGHT - _LEFT) * along, bottom - (bottom - _TOP) * share

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """Return the points as SVG writes them."""
        return " ".join("{:.1f},{:.1f}".format(*self.at(x, y)) for x, y in points)

    def line(self, points: Points, class_: str) -> Markup:
        """Draw a line through the points, as many as the chart can show."""
        return tag("polyline", points=self.path(thinned(points)), class_=class_)

    def level(self, value: float, class_: str) -> Markup:
        """Draw a horizontal line."""
        y = self.at(self.first, value)[1]
        return tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_=class_)

    def draw(self, name: str, *content: Markup) -> Markup:
        """Put content on a grid with its scales."""
        grid = (
            join(
                self.level(tick, "grid"),
                tag("text", f"{tick:g}", x=_LEFT - 6, y=self.at(self.first, tick)[1] + 3.5, text_anchor="end"),
            )
            for tick in self.ticks
        )
        ends = join(
            tag("text", _count(self.first), x=_LEFT, y=_HEIGHT - 5),
            tag("text", "iterations", x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 5, text_anchor="middle"),
            tag("text", _count(self.last), x=_WIDTH - _RIGHT, y=_HEIGHT - 5, text_anchor="end"),
        )
        box, label = f"0 0 {_WIDTH} {_HEIGHT}", f"{name} over iterations"
        return tag("svg", *grid, ends, *content, viewBox=box, role="img", aria_label=label)


def series(values: Iterable[tuple[int, Mapping[str, float | None]]]) -> dict[str, Points]:
    """Turn (iteration, values by name) into points by name; names with fewer than two points are left out."""
    found: dict[str, Points] = {}
    for iteration, named in values:
        for name, value in named.items():
            if value is not None:
                found.setdefault(name, []).append((float(iteration), value))
    return {name: points for name, points in found.items() if len(points) > 1}


def loss_curves(records: Sequence[Metrics]) -> list[Markup]:
    """Draw a small chart for every loss of a stage: raw and faint behind, smoothed in front."""
    drawn = series((record.iteration, record.losses) for record in records)
    return [curve(LOSSES.get(name, name), points, logged=name) for name, points in drawn.items()]


def curve(name: str, points: Points, logged: str = "") -> Markup:
    """Draw one number over the iterations, its last smoothed value beside its name.

    Args:
        logged: its name in metrics.jsonl, where that is another.
    """
    smooth = smoothed(points)
    ticks = nice_ticks(*_value_range([value for _, value in points], [value for _, value in smooth]))
    frame = _Frame(points[0][0], points[-1][0], ticks)
    drawing = frame.draw(name, frame.line(points, "raw"), frame.line(smooth, "smooth"))
    return _chart(name, f"{smooth[-1][1]:.3g}", drawing, logged=logged if logged != name else "")


def lines(
    name: str,
    named: Mapping[str, Points],
    *,
    span: tuple[float, float] | None = None,
    level: float | None = None,
    dot: tuple[float, float] | None = None,
    smooth: bool = True,
) -> Markup:
    """Draw several numbers of one kind over the iterations, each with its last value in the key.

    Args:
        named: at least one line of at least two points.
        span: what the scale runs over; the values' own range by default.
        level: a value to mark with a dashed line.
        dot: a point to mark.
    """
    drawn = {label: smoothed(points) if smooth else points for label, points in named.items()}
    low, high = span or _reach(drawn.values(), level)
    xs = [x for points in drawn.values() for x, _ in points]
    frame = _Frame(min(xs), max(xs), nice_ticks(low, high))
    marked = [frame.level(level, "level")] if level is not None else []
    paths = (frame.line(points, f"smooth line{i % 4}") for i, points in enumerate(drawn.values()))
    x, y = frame.at(*dot) if dot else (0.0, 0.0)
    dots = [tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, class_="dot-best")] if dot else []
    key = (
        tag("span", tag("i", class_=f"mark bar line{i % 4}"), label, tag("b", f"{points[-1][1]:.3g}", class_="num"))
        for i, (label, points) in enumerate(drawn.items())
    )
    return _chart(name, "", frame.draw(name, *marked, *paths, *dots), tag("p", *key, class_="keys"))


def nested(name: str, named: Mapping[str, Points]) -> Markup:
    """Draw areas from 0 up, each inside the one before it, the innermost darkest: shares that can only shrink.

    Args:
        named: from the largest share to the smallest.
    """
    drawn = {label: smoothed(points) for label, points in named.items()}
    first = next(iter(drawn.values()))
    frame = _Frame(first[0][0], first[-1][0], nice_ticks(0, max(value for _, value in first)))
    areas = (
        tag("polygon", tag("title", label), points=frame.path(_closed(thinned(points))), class_="area")
        for label, points in drawn.items()
    )
    outer, inner = next(iter(drawn)), list(drawn)[-1]
    shades = [tag("i", style=f"opacity:{1 - 0.86 ** (i + 1):.2f}") for i in range(len(drawn))]
    key = tag("p", tag("span", outer, tag("span", *shades, class_="shades"), inner), class_="keys")
    return _chart(name, f"{first[-1][1]:.3g}", frame.draw(name, *areas), key)


def _closed(points: Points) -> Points:
    return [(points[0][0], 0.0), *points, (points[-1][0], 0.0)]


def _chart(name: str, value: str, *content: Markup, logged: str = "") -> Markup:
    small = [tag("small", logged)] if logged else []
    caption = tag("figcaption", tag("span", name, *small), tag("b", value, class_="num"))
    return tag("figure", caption, *content, class_="curve")


def _reach(found: Iterable[Points], level: float | None) -> tuple[float, float]:
    values = [value for _, value in chain.from_iterable(found)] + ([] if level is None else [level])
    return min(values), max(values)


def smoothed(points: Points) -> Points:
    """Average over the neighbours, a fortieth of the curve on either side; fewer than 40 points stay as they are."""
    reach = len(points) // 40
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
    size = max(abs(low), abs(high)) or 1.0
    span = high - low if high - low > 1e-4 * size else size  # what is constant but for rounding is constant
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= span / 3)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.6g}") for i in range(start, max(stop, start + 1) + 1)]


def _value_range(raw: Sequence[float], smooth: Sequence[float]) -> tuple[float, float]:
    """Cover the smoothed curve and all but the wildest hundredth of the raw one, at either end."""
    ordered = sorted(raw)
    cut = len(ordered) // 100
    return min(ordered[cut], *smooth), max(ordered[-1 - cut], *smooth)


def _count(iterations: float) -> str:
    return f"{iterations / 1000:g}k" if iterations >= 10_000 else f"{iterations:g}"
