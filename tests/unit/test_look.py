"""A look at a set before training: what is drawn and counted is what the files hold, and a fault is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from cirn_dist.data.look import look
from cirn_dist.data.pack.pack import pack
from cirn_dist.errors import ConfigError, DataError

COLOURS = {"ground": (90, 60, 30), "sky": (70, 130, 180), "vehicle": (0, 0, 142)}
RECIPE = """name: mine
label_space: {name: mine3, classes: [ground, sky, vehicle], palette: [[90, 60, 30], [70, 130, 180], [0, 0, 142]]}
forms: [{images: "{split}/images/*.png", labels: "{split}/labels/{1}.png"}]
splits: {train: {}}
"""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three images of two sizes: all sky, half ground and half ignored, and a broken label (an id that is no class)."""
    folder = tmp_path / "raw"
    for kind in ("images", "labels"):
        (folder / "train" / kind).mkdir(parents=True)
    labels = {"bright": np.full((10, 20), 1), "half": np.repeat([0, 255], [400, 400]).reshape(20, 40)}
    labels["wrong"] = np.full((10, 20), 7)
    for name, label in labels.items():
        grey = {"bright": 250, "half": 20, "wrong": 100}[name]
        Image.fromarray(np.full((*label.shape, 3), grey, np.uint8)).save(folder / f"train/images/{name}.png")
        Image.fromarray(label.astype(np.uint8)).save(folder / f"train/labels/{name}.png")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return folder


def test_counts_and_odd_images_are_those_of_the_files(raw: Path) -> None:
    found = look(raw, 10, recipe=str(raw.parent / "mine.yaml"))
    assert found.total == 3
    assert sorted(one.source for one in found.seen) == ["train/images/bright.png", "train/images/half.png"]
    assert list(found.faults) == ["train/images/wrong.png"]
    assert found.faults["train/images/wrong.png"].startswith("unknown label id 7; say in the recipe")
    assert found.pixels == {"ground": 0.4, "sky": 0.2, "vehicle": 0.0, "ignored": 0.4}
    assert found.images == {"ground": 1, "sky": 1, "vehicle": 0, "ignored": 1}
    assert found.sizes == {"20x10": 1, "40x20": 1}
    odd = {name: one.source.removeprefix("train/images/") for name, one in found.odd()}
    assert (odd["brightest"], odd["darkest"]) == ("bright.png", "half.png")
    assert (odd["smallest"], odd["largest"]) == ("bright.png", "half.png")
    assert (odd["most without a class"], odd["most of one class"]) == ("half.png", "bright.png")


def test_labels_are_drawn_where_they_are(raw: Path) -> None:
    found = look(raw, 10, recipe=str(raw.parent / "mine.yaml"))
    half = next(one for one in found.seen if one.source.endswith("half.png"))
    assert found.space is not None
    drawn = np.asarray(half.drawn_over(found.space))
    expected = np.rint(0.6 * np.array(COLOURS["ground"]) + 0.4 * 20)
    np.testing.assert_array_equal(drawn[0, 0], expected)
    np.testing.assert_array_equal(drawn[-1, -1], [20, 20, 20])


def test_a_packed_set_looks_as_its_raw_folder(raw: Path, tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (raw / f"train/{kind}/wrong.png").unlink()
    recipe = str(raw.parent / "mine.yaml")
    pack(recipe, raw, tmp_path / "set/train", size="original", codec="png")
    before, after = look(raw, 10, recipe=recipe), look(tmp_path / "set", 10, split="train")
    assert (after.total, after.pixels, after.images) == (before.total, before.pixels, before.images)
    assert {one.source for one in after.seen} == {one.source for one in before.seen}
    assert len(look(tmp_path / "set/train", 1).seen) == 1
    unlabelled = tmp_path / "images"
    pack(recipe, raw, unlabelled, size="original", codec="png", labels=False)
    assert look(unlabelled, 5).space is None


def test_the_verb_writes_a_page_and_says_what_is_wrong(raw: Path, tmp_path: Path, cirn_dist: Command) -> None:
    out, told = tmp_path / "page.html", tmp_path / "told.json"
    done = cirn_dist("look", raw, "--recipe", raw.parent / "mine.yaml", "--out", out, "--json", told)
    assert done.returncode == 1
    assert "train/images/wrong.png: unknown label id 7" in done.stderr
    assert "2 of 3 classes of mine3 seen (not vehicle), 40.0 % of the pixels without a class" in done.stdout
    page = out.read_text()
    assert page.count("<img") == 2 * (2 + len(look(raw, 9, recipe=str(raw.parent / "mine.yaml")).odd()))
    assert "http" not in page
    assert "unknown label id 7" in page
    content = json.loads(told.read_text())
    assert (content["total"], content["looked_at"], content["label_space"]) == (3, 2, "mine3")


def test_what_cannot_be_looked_at_is_said_in_a_line(raw: Path, tmp_path: Path, cirn_dist: Command) -> None:
    with pytest.raises(ConfigError, match="is no packed set; say how a raw folder is read: --recipe"):
        look(raw, 3)
    with pytest.raises(DataError, match="no such folder"):
        look(tmp_path / "none", 3, recipe=str(raw.parent / "mine.yaml"))
    done = cirn_dist("look")
    assert (done.returncode, "nothing to look at" in done.stderr) == (2, True)
    done = cirn_dist("look", "--recipe", "streets", "--count", "2", "--out", tmp_path / "no/such.html")
    assert (done.returncode, "is no file that could be written" in done.stderr) == (2, True)


def test_a_folder_that_rendered_images_would_not_read_is_refused(raw: Path, tmp_path: Path, cirn_dist: Command) -> None:
    with pytest.raises(ConfigError, match="would not be read: streets is a recipe of rendered images; drop the folder"):
        look(raw, 2, recipe="streets")
    done = cirn_dist("pack", "streets", "--raw", tmp_path / "none", "--out", tmp_path / "set")
    assert (done.returncode, (tmp_path / "set").exists()) == (2, False)
