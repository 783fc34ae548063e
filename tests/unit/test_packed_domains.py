"""Packed sets in the place of raw folders: compared with what the settings call them; labels that teach nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from owndata import folder, tiny
from PIL import Image
from rawdata import save, shard_set

from cirn_dist.config.load import load
from cirn_dist.config.schema import Config
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.run_sets.label_space import settled
from cirn_dist.data.run_sets.ready_packed import packed_otherwise, stand_in
from cirn_dist.data.shards.shardset import ShardSet, packed_at
from cirn_dist.errors import ConfigError, CorruptSample

SIZE = (64, 48)


def configured(root: Path, *overrides: str) -> Config:
    return settled(load(str(root / "tiny.yaml"), list(overrides)))


def packed(root: Path, place: str, split: str = "train", **options: object) -> ShardSet:
    """Pack the made-up target's split, by default at the configured size."""
    given = {"size": SIZE, "label_size": "original" if split == "val" else None} | options
    return pack(root / "mine.yaml", root / "target", root / place, split, **given)


def test_a_packed_training_split_is_not_scored(tmp_path: Path, cirn_dist: Command) -> None:
    config = tiny(tmp_path)
    folder(tmp_path / "target", 8)  # now with labels, and packed with them
    packed(tmp_path, "shared")
    words = ("run", config, "--out", tmp_path / "run", "--until", "source", f"data.target.raw={tmp_path / 'shared'}")
    done = cirn_dist(*words)
    assert done.returncode == 2
    assert "shared: its split is train, data.target.score_split is val" in done.stderr
    assert "data.target.score_raw" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_scored_set_has_its_own_place(tmp_path: Path, cirn_dist: Command) -> None:
    config = tiny(tmp_path)
    train = packed(tmp_path, "shared/train", labels=False)
    val = packed(tmp_path, "shared/val", "val")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(val.path, elsewhere)
    shutil.rmtree(tmp_path / "target")
    shared = f"data.target.raw={tmp_path / 'shared'}"
    alone = (f"data.target.raw={train.path}", f"data.target.score_raw={elsewhere}")
    for name, given in (("a", [shared]), ("b", alone)):
        done = cirn_dist("run", config, "--out", tmp_path / name, "--until", "data", *given)
        assert done.returncode == 0, done.stderr
        sets = json.loads((tmp_path / name / "data.json").read_text())
        assert (sets["data.target"], sets["data.scored"]) == (train.fingerprint, val.fingerprint)


def test_raw_images_may_be_scored_from_another_folder(tmp_path: Path) -> None:
    tiny(tmp_path)
    config = configured(tmp_path, f"data.target.score_raw={tmp_path / 'lab'}")
    assert stand_in(config.data, "scored") is None
    packed(tmp_path, "lab", "val")
    found = stand_in(config.data, "scored")
    assert found is not None
    assert len(found) == 4
    assert stand_in(config.data, "target") is None


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data.source.split=val"], "its split is train, data.source.split is val"),
        (["data.source.size=[32, 24]"], "its size is 64x48, data.source.size is 32x24"),
        (["data.source.recipe=camvid"], "its recipe is mine, data.source.recipe is camvid"),
        (
            ["data.source.recipe=camvid", "data.source.split=val"],
            "recipe is mine, .* is camvid; its split is train, .* --split val --size 64x48",
        ),
    ],
)
def test_a_packed_set_is_what_the_settings_call_it(overrides: list[str], told: str, tmp_path: Path) -> None:
    tiny(tmp_path)
    pack(tmp_path / "mine.yaml", tmp_path / "source", tmp_path / "packed", size=SIZE)
    raw = f"data.source.raw={tmp_path / 'packed'}"
    assert stand_in(configured(tmp_path, raw).data, "source")
    with pytest.raises(ConfigError, match=told) as caught:
        stand_in(configured(tmp_path, raw, *overrides).data, "source")
    assert "\n" not in str(caught.value)


def test_scored_labels_are_at_their_own_size(tmp_path: Path) -> None:
    tiny(tmp_path)
    packed(tmp_path, "small", "val", label_size="image")
    with pytest.raises(ConfigError, match=r"as small as its images.* --label-size original"):
        stand_in(configured(tmp_path, f"data.target.score_raw={tmp_path / 'small'}").data, "scored")


def test_a_sets_other_options_are_told(tmp_path: Path) -> None:
    tiny(tmp_path)
    raw = f"data.source.raw={tmp_path / 'packed'}"
    shards = pack(tmp_path / "mine.yaml", tmp_path / "source", tmp_path / "packed", size=SIZE)
    assert packed_otherwise(shards, configured(tmp_path, raw).data, "source") == ""
    fewer = configured(tmp_path, raw, "data.source.options.count=3")
    assert "count of this run is not applied to it" in packed_otherwise(shards, fewer.data, "source")
    text = (tmp_path / "mine.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("forms:", "codec: png\nforms:"))
    assert "by another text of it" in packed_otherwise(shards, configured(tmp_path, raw).data, "source")


def test_no_stage_can_read_a_packed_targets_labels(tmp_path: Path) -> None:
    tiny(tmp_path)
    folder(tmp_path / "target", 8)
    whole = packed(tmp_path, "shared")
    images = stand_in(configured(tmp_path, f"data.target.raw={whole.path}").data, "target")
    assert images is not None
    assert not images.has_labels
    assert images.label_space is None
    assert images.fields == ("image.jpg", "json")
    assert images.fingerprint == whole.fingerprint
    for index in range(8):
        sample = whole.read(index)
        assert sample.pop("label.png")
        assert images.read(index) == sample
    with pytest.raises((CorruptSample, ValueError, KeyError)):
        images.read(0)["label.png"]


def test_sets_that_do_not_say_what_they_are_made_from_are_taken(tmp_path: Path) -> None:
    tiny(tmp_path)
    shards = shard_set(tmp_path / "foreign", [3, 2], *SIZE)
    found = stand_in(configured(tmp_path, f"data.source.raw={shards.path}").data, "source")
    assert found is not None
    assert found.fingerprint == shards.fingerprint


def test_an_index_of_raw_data_is_no_shard_set(tmp_path: Path) -> None:
    (tmp_path / "raw/train").mkdir(parents=True)
    (tmp_path / "raw/train/index.json").write_text('{"images": []}')
    assert packed_at(tmp_path / "raw", "train") is None
    assert packed_at(shard_set(tmp_path / "set", [1]).path, "train") == tmp_path / "set"


def test_labels_that_teach_nothing_are_refused_or_told(tmp_path: Path, cirn_dist: Command) -> None:
    config = tiny(tmp_path)
    labels = sorted((tmp_path / "source/train/labels").glob("*.png"))
    words = ("run", config, "--until", "data", "--out")
    for path in labels:
        save(path, np.full((48, 64), 255, np.uint8))
    done = cirn_dist(*words, tmp_path / "nothing")
    assert done.returncode == 1
    assert "not one pixel of its labels is of the run's classes" in done.stderr
    for path in labels:
        save(path, np.where(np.arange(64) % 4, 255, 0).astype(np.uint8)[None].repeat(48, 0))
    done = cirn_dist(*words, tmp_path / "one")
    assert done.returncode == 0, done.stderr
    assert "source images: all labelled pixels are of one class, ground" in done.stdout
    assert "source images: 75 % of the label pixels are ignored" in done.stdout
    assert "scored images:" not in done.stdout


def test_classes_without_a_pixel_and_pairs_left_out_are_told_at_every_start(tmp_path: Path, cirn_dist: Command) -> None:
    config = tiny(tmp_path)
    labels = sorted((tmp_path / "source/train/labels").glob("*.png"))
    for path in labels:
        pixels = np.asarray(Image.open(path)).copy()
        pixels[pixels == 2] = 255
        save(path, pixels)
    save(labels[3], np.zeros((24, 32), np.uint8))
    words = ("run", config, "--until", "data", "--out", tmp_path / "run", "data.source.options.max_left_out=0.2")
    for start in ("first", "again"):
        done = cirn_dist(*words)
        assert done.returncode == 0, done.stderr
        assert "source images: no pixel of vehicle" in done.stdout, start
        assert "source images: left out: 1 of 8 images (12.5 %), first train/images/im003.png" in done.stdout, start
