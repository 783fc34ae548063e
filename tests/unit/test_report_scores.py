"""What the page says beside the scores: the confusion matrix, the worst images, the file of numbers."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_report_html import fill, results

from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.errors import DataError
from cirn_dist.inference.load import load
from cirn_dist.report.confusion import confusion
from cirn_dist.report.download import scores_csv
from cirn_dist.report.html import write_report
from cirn_dist.rundir.scores import lowest, read_scores, read_worst


def test_a_row_of_the_matrix_is_in_percent_of_the_class() -> None:
    text = confusion("CIR", [[3, 1], [0, 0]], results())
    assert re.findall(r'<td class="(\w+)" style="--share:(\d+)%">(\d*)</td>', text) == [
        ("right", "75", "75"), ("wrong", "25", "25"), ("wrong", "0", ""), ("right", "0", ""),
    ]  # fmt: skip
    assert "100.0 % of pixels" in text
    assert "not in the labels" in text
    assert confusion("CIR", [[0, 0], [0, 0]], results()) == ""


def test_the_file_of_numbers_has_every_score() -> None:
    head, *rows = csv.reader(io.StringIO(scores_csv(results(name='a,"b"'))))
    assert head == ["run", "seed", "stage", "score", "miou", "road", "car"]
    assert rows == [
        ['a,"b"', "7", "source", "plain", "0.280400", "0.500000", "0.060000"],
        ['a,"b"', "7", "source", "adabn", "0.335100", "", ""],
        ['a,"b"', "7", "self_train", "plain", "0.382900", "0.700000", ""],
        ['a,"b"', "7", "self_train", "control", "0.302100", "0.400000", "0.200000"],
        ['a,"b"', "7", "self_train", "control adabn", "0.311200", "", ""],
    ]


def test_the_lowest_come_first_and_images_without_labels_not_at_all() -> None:
    assert lowest({0: 0.5, 1: None, 2: 0.1, 3: 0.5}, 3) == [2, 0, 3]
    assert lowest({}, 3) == []


def test_a_stages_matrix_and_worst_images_are_those_of_its_predictions(finished_run: Path) -> None:
    """Counted again from the network's predictions of the scored set."""
    found, shards = read_scores(finished_run / "self_train"), ShardSet.open(finished_run / "data/scored")
    assert found is not None
    assert found.confusion is not None
    net = load(finished_run)
    total, accuracy = np.zeros((11, 11), int), {}
    for place in range(len(shards)):
        sample = shards.read(place)
        label = np.asarray(Image.open(io.BytesIO(sample["label.png"])))
        ids = net.predict(Image.open(io.BytesIO(sample[shards.image_field]))).ids
        ids = np.asarray(Image.fromarray(ids).resize(label.shape[::-1], Image.Resampling.NEAREST))
        for true, predicted in zip(label.ravel(), ids.ravel(), strict=True):
            if true != 255:
                total[true, predicted] += 1
        accuracy[place] = float((ids == label)[label != 255].mean())
    np.testing.assert_array_equal(total, found.confusion)
    assert found.accuracy == pytest.approx(accuracy)
    worst = read_worst(finished_run / "self_train")
    assert [one.place for one in worst] == sorted(accuracy, key=lambda place: (accuracy[place], place))[:2]
    text = (finished_run / "report.html").read_text()
    assert f"Errors: {100 * worst[0].accuracy:.0f} % right" in text
    assert "Worst images" in text
    assert "Confusion" in text


def test_a_damaged_file_of_scores_is_named(tmp_path: Path) -> None:
    run = fill(tmp_path / "run", results())
    (run / "self_train").mkdir(exist_ok=True)
    (run / "self_train/scores.json").write_text(json.dumps({"checkpoint": 3}))
    with pytest.raises(DataError, match="not a file of scores"):
        write_report(run)
