"""The printed table says what the results say."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from cirn_dist.display.tables import best, percent, results_table
from cirn_dist.rundir.results import Control, Results, Row, Scores

SOURCE = Row(
    stage="source",
    title="Source only",
    miou=0.2801,
    iou=(0.50, 0.0602),
    adabn=Scores(miou=0.335),
    control=Control(title="longer", miou=0.279, adabn=Scores(miou=0.329)),
)
FINAL = Row(stage="self_train", title="CIR + ASS + ST", miou=0.3829, iou=(0.7, None))


def shown(*rows: Row, width: int = 80, colour: bool = False) -> str:
    palette = ((1, 2, 3), (4, 5, 6))
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="truecolor" if colour else None
    )
    console.print(results_table(Results(name="r", seed=0, classes=("road", "car"), palette=palette, rows=rows)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line(text: str, start: str) -> list[str]:
    (found,) = [line for line in text.splitlines() if line.strip().startswith(start)]
    return found.replace(start, "").split()


def test_every_number_is_the_one_given() -> None:
    text = shown(SOURCE, FINAL)
    assert line(text, "Source only") == ["28.0", "33.5", "27.9", "32.9"]
    assert line(text, "CIR + ASS + ST") == ["38.3", "–", "–", "–"]
    assert line(text, "■ road") == ["50.0", "70.0"]
    assert line(text, "■ car") == ["6.0", "–"]


def test_the_best_is_bold() -> None:
    text = shown(SOURCE, FINAL, colour=True)
    for number, is_best in {"38.3": True, "28.0": False, "70.0": True, "50.0": False, "33.5": False}.items():
        assert bool(re.search(rf"\x1b\[1m *{number}\x1b", text)) is is_best


def test_equal_printed_numbers_are_both_best() -> None:
    assert best([0.3001, None, 0.3004, 0.2]) == {0, 2}
    assert best([None, 0.4]) == best([]) == set()  # nothing to compare with
    assert best([0.0, 0.0001, None, 0.0]) == set(), "where all are equal none is the best"


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0, "0.0"), (1.0, "100.0"), (0.41249, "41.2")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_a_narrow_terminal_keeps_the_numbers() -> None:
    text = shown(SOURCE, FINAL, width=48)
    assert max(map(len, text.splitlines())) <= 48
    for number in ("28.0", "33.5", "27.9", "32.9", "38.3", "70.0"):
        assert number in text


def test_a_title_is_text_and_not_markup() -> None:
    assert "[bold]x[/bold]" in shown(SOURCE.model_copy(update={"title": "[bold]x[/bold]"}))


def test_without_target_labels_it_says_so() -> None:
    assert "no labels" in shown(Row(stage="source", title="Source only"))


def test_without_stages_it_says_so() -> None:
    assert "No stage is scored yet" in shown()
