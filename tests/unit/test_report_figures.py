"""The figures put their marks where the numbers are."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cirn_dist.report.curves import curve, loss_curves, nice_ticks, smoothed, thinned
from cirn_dist.report.figures import dumbbell, stage_bars
from cirn_dist.rundir.metrics import metrics
from cirn_dist.rundir.results import Control, Results, Row, Scores


def results(*rows: Row) -> Results:
    return Results(name="r", seed=0, classes=(), palette=(), rows=rows)


def test_bars_and_markers_are_in_proportion() -> None:
    source = Row(stage="source", title="SO", miou=0.2, adabn=Scores(miou=0.3))
    final = Row(stage="st", title="ST", miou=0.4, control=Control(title="c", miou=0.1, adabn=Scores(miou=0.35)))
    text = stage_bars(results(source, final))
    assert re.findall(r'class="fill[^"]*" style="width:([\d.]+)%"', text) == ["50.00", "100.00"]  # the axis ends at 40
    assert re.findall(r'mark (\w+)" style="left:([\d.]+)%"', text) == [
        ("adabn", "75.00"),
        ("control", "25.00"),
        ("both", "87.50"),
    ]
    assert [float(number) for number in re.findall(r"<span>(\d+)</span>", text)] == [0, 10, 20, 30, 40]


def test_a_dumbbell_goes_from_first_to_last() -> None:
    assert "left:30.00%;width:20.00%" in dumbbell(0.3, 0.5)
    assert "gain" in dumbbell(0.3, 0.5)
    assert "left:30.00%;width:20.00%" in dumbbell(0.5, 0.3)
    assert "loss" in dumbbell(0.5, 0.3)
    assert dumbbell(None, 0.5) == ""


def test_smoothing_is_the_mean_of_the_neighbours() -> None:
    values = np.random.default_rng(0).random(200)
    path = smoothed(list(enumerate(values.tolist())))
    expected = [values[max(i - 5, 0) : i + 6].mean() for i in range(200)]
    assert [y for _, y in path] == pytest.approx(expected)
    assert [x for x, _ in path] == list(range(200))


@pytest.mark.parametrize("count", [1, 2, 239, 240, 241, 5000])
def test_thinning_keeps_the_last_point(count: int) -> None:
    points = [(float(i), 0.0) for i in range(count)]
    kept = thinned(points)
    assert kept[-1] == points[-1]
    assert min(count, 240) <= len(kept) < 480


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0.31, 0.33), (-2, 7), (5, 5), (0, 0), (1e-5, 3e-5), (120, 98000), (0.0, 0.75), (0.2, 0.2 + 1e-16)],
)
def test_ticks_are_few_round_and_enclose(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 5
    assert len({f"{tick:g}" for tick in ticks}) == len(ticks)


def test_a_curve_spans_its_frame() -> None:
    text = curve("seg", [(0.0, 0.0), (50.0, 1.0), (100.0, 2.0)])
    raw = re.search(r'<polyline points="([^"]+)" class="raw">', text)
    assert raw is not None
    assert raw[1].split() == ["42.0,130.0", "167.0,70.0", "292.0,10.0"]


def test_the_axis_shows_the_raw_values_but_the_wildest() -> None:
    def top(points: list[tuple[float, float]]) -> float:
        return max(map(float, re.findall(r'text-anchor="end">([^<]+)<', curve("seg", points))[:-1]))

    often = [(float(i), 2.0 if i % 20 == 7 else 0.5) for i in range(300)]
    assert 2 <= top(often) < 3
    assert top([*often, (300.0, 1000.0)]) <= 200  # its average is shown, 1000 / 8


def test_losses_that_come_late_or_not_finite_are_drawn_where_they_are() -> None:
    records = [
        metrics(i, i, 1.0, {"seg": 1.0} | ({"adv": float("nan") if i == 7 else 0.5} if i > 5 else {}))
        for i in range(10)
    ]
    charts = loss_curves(records)
    assert ["seg" in charts[0], "adv" in charts[1], len(charts)] == [True, True, 2]
    assert "nan" not in "".join(charts)
