"""The first screen says what the table says: the last stage beside all it must beat, a loss as plainly as a gain."""

from __future__ import annotations

import re

import pytest

from cirn_dist.report.headline import baselines, headline, key_numbers
from cirn_dist.rundir.results import Control, Results, Row, Scores


def results(*rows: Row, images: int | None = None) -> Results:
    return Results(name="r", seed=0, classes=(), palette=(), rows=rows, images=images)


def named(*scores: float) -> list[Row]:
    return [Row(stage=name, title=name, miou=miou) for name, miou in zip("ABC", scores, strict=False)]


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([0.2804, 0.3829], "B reaches 38.3 % mIoU on the target: 10.3 points above A. One seed."),
        (
            [0.2804, 0.2621],
            "B reaches 26.2 % mIoU on the target: 1.8 points below A. The best stage is A with 28.0 %. One seed.",
        ),
        ([0.2804, 0.2799], "B reaches 28.0 % mIoU on the target: the same as A. One seed."),
        (
            [0.28, 0.4, 0.39],
            "C reaches 39.0 % mIoU on the target: 11.0 points above A. The best stage is B with 40.0 %. One seed.",
        ),
        ([0.28], "A reaches 28.0 % mIoU on the target. One seed."),
        ([], "The target has no labels, so nothing is scored; the pictures show what was learned."),
    ],
)
def test_the_outcome_in_words(scores: list[float], sentence: str) -> None:
    assert headline(results(*named(*scores))) == sentence


def test_a_gain_over_source_that_its_control_and_adabn_have_too_is_no_success() -> None:
    """What a demo had: 3.4 points above source only, and less than either baseline that does without the method."""
    first = Row(stage="source", title="Source only", miou=0.235, adabn=Scores(miou=0.278))
    control = Control(title="CIR + ASS, trained as long", miou=0.276, adabn=Scores(miou=0.28))
    last = Row(stage="self_train", title="CIR + ASS + ST", miou=0.269, adabn=Scores(miou=0.272), control=control)
    found = results(first, last, images=101)
    assert headline(found) == (
        "CIR + ASS + ST reaches 26.9 % mIoU on the target: 3.4 points above Source only, 0.9 points below Source only "
        "with AdaBN, 0.7 points below its control (CIR + ASS, trained as long), 1.1 points below that control with "
        "AdaBN. One seed, 101 scored images."
    )
    assert [one.miou for one in baselines(found)] == [0.235, 0.278, 0.276, 0.28]
    page = key_numbers(found)
    assert re.findall(r'<dd class="(\w+)">([^<]+)', page) == [
        ("won", "+3.4"), ("lost", "-0.9"), ("lost", "-0.7"), ("lost", "-1.1"),
    ]  # fmt: skip
    assert "it has 27.6" in page


def test_without_controls_and_adabn_the_source_is_all_there_is() -> None:
    found = results(*named(0.2, 0.3))
    assert [one.over for one in baselines(found)] == ["A"]
    assert key_numbers(found).count("<dd") == 3
    assert key_numbers(results(*named(0.2))) == ""
