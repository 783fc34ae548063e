"""results.json is typed, refuses what it cannot mean, and is replaced in one piece."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cirn_dist.errors import DataError
from cirn_dist.files import replace_text
from cirn_dist.rundir.results import Control, Results, Row, Scores, read_results, write_results


def results(**changes: object) -> Results:
    row = Row(
        stage="source",
        title="Source only",
        miou=0.25,
        iou=(0.5, None),
        adabn=Scores(miou=0.3, iou=(0.3, 0.3)),
        control=Control(title="trained as long", miou=0.26, iou=(0.26, 0.26), adabn=Scores(miou=0.31)),
        iterations=100,
        seconds=1.5,
    )
    content = dict(name="run", seed=3, classes=("road", "car"), palette=((1, 2, 3), (4, 5, 6)), rows=(row,))
    return Results.model_validate(content | changes)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert write_results(tmp_path, results()) == tmp_path / "results.json"
    assert read_results(tmp_path) == read_results(tmp_path / "results.json") == results()


def test_the_file_has_the_agreed_form(tmp_path: Path) -> None:
    content = json.loads(write_results(tmp_path, results()).read_text())
    assert set(content) == {"name", "seed", "classes", "palette", "rows", "images"}
    row = content["rows"][0]
    assert (row["stage"], row["miou"], row["iou"]) == ("source", 0.25, [0.5, None])
    assert row["control"]["adabn"]["miou"] == 0.31


def test_a_file_of_before_the_scored_images_were_counted_opens(tmp_path: Path) -> None:
    file = write_results(tmp_path, results())
    content = json.loads(file.read_text())
    del content["images"]
    file.write_text(json.dumps(content))
    assert read_results(tmp_path) == results()


def test_nan_becomes_null(tmp_path: Path) -> None:
    row = Row(stage="source", title="SO", miou=float("nan"), iou=(float("nan"), 0.5))
    assert row.miou is None
    assert "NaN" not in write_results(tmp_path, results(rows=(row,))).read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a results file"),
        ('{"name": "x"}', "seed"),
        ('{"name":"x","seed":0,"classes":["a"],"palette":[],"rows":[]}', "0 palette colours for 1 classes"),
        (
            '{"name":"x","seed":0,"classes":["a"],"palette":[[0,0,0]],"rows":[{"stage":"s","title":"S","iou":[1,1]}]}',
            "2 IoUs for 1 classes",
        ),
        (
            '{"name":"x","seed":0,"classes":[],"palette":[],"rows":[{"stage":"s","title":"S","miou":38.3}]}',
            "rows.0.miou",
        ),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError) as caught:
        read_results(tmp_path)
    assert "results.json" in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no results here"):
        read_results(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    replace_text(file, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_text(file, "half\ud800")  # a lone surrogate has no UTF-8
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
