from __future__ import annotations

import errno
import io
import itertools
import logging
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rawdata import camvid, labels, picture, png16, save

from cirn_dist.data import files
from cirn_dist.data.index import ShardSet
from cirn_dist.data.labels import IGNORE, label_space
from cirn_dist.data.pack import pack
from cirn_dist.data.transforms import decode_image, decode_label
from cirn_dist.errors import ConfigError, CorruptSample, DataError

CITYSCAPES_TRAIN = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 26: 13, 33: 18}


def by_key(shards: ShardSet) -> dict[str, int]:
    return {shards.key(i): i for i in range(len(shards))}


def label_of(shards: ShardSet, key: str) -> np.ndarray:
    return decode_label(shards.read(by_key(shards)[key])["label.png"])


def image_of(shards: ShardSet, key: str) -> np.ndarray:
    return decode_image(shards.read(by_key(shards)[key])[shards.image_field])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- the published forms


def test_camvid_of_eleven_classes(tmp_path):
    raw = camvid(tmp_path / "raw")
    shards = pack("camvid", raw, tmp_path / "out", size="original")
    assert sorted(by_key(shards)) == ["0001TP_006690", "0001TP_006720", "0001TP_006750"]
    truth = np.asarray(Image.open(raw / "trainannot/0001TP_006720.png"))
    np.testing.assert_array_equal(label_of(shards, "0001TP_006720"), np.where(truth == 11, IGNORE, truth))
    np.testing.assert_array_equal(image_of(shards, "0001TP_006720"), picture(1))
    sample = shards.read(by_key(shards)["0001TP_006720"])
    assert sample["json"] == b'{"size": [24, 16], "source": "train/0001TP_006720.png"}'
    assert shards.label_space == label_space("camvid11")


def test_camvid_of_32_colours_splits_as_the_other_form(tmp_path):
    raw = tmp_path / "raw"
    colours = np.array([(128, 64, 128), (0, 0, 0), (192, 0, 64), (64, 128, 192)], np.uint8)  # road void lane SUV
    names = ["0001TP_006690", "0001TP_008550", "0016E5_07959", "0016E5_08190", "Seq05VD_f00000", "0006R0_f00930"]
    for name in names:
        save(raw / "701_StillsRaw_full" / f"{name}.png", picture(1))
        save(raw / "LabeledApproved_full" / f"{name}_L.png", colours[labels(1, [0, 1, 2, 3])])
    packed = {split: pack("camvid", raw, tmp_path / split, split) for split in ("train", "val", "test")}
    assert {split: sorted(by_key(shards)) for split, shards in packed.items()} == {
        "train": ["0001TP_006690", "0006R0_f00930", "0016E5_08190"],
        "val": ["0016E5_07959"],
        "test": ["0001TP_008550", "Seq05VD_f00000"],
    }
    truth = np.array([3, IGNORE, 3, 8], np.uint8)[labels(1, [0, 1, 2, 3])]
    np.testing.assert_array_equal(label_of(packed["val"], "0016E5_07959"), truth)


def test_gta5_palette_labels_are_indices_and_its_rgb_release_colours(tmp_path):
    raw = tmp_path / "raw"
    ids = labels(1, [0, 4, *CITYSCAPES_TRAIN, 34])
    truth = np.full(256, IGNORE)
    truth[list(CITYSCAPES_TRAIN)] = list(CITYSCAPES_TRAIN.values())
    save(raw / "images/00001.png", picture(1))
    save(raw / "labels/00001.png", ids, palette=True)
    assert Image.open(raw / "labels/00001.png").mode == "P"
    save(raw / "images/00002.png", picture(2))
    save(raw / "labels/00002.png", label_space("cityscapes19").colour(truth[ids]))
    shards = pack("gta5", raw, tmp_path / "out", size=(24, 16))
    for key in ("00001", "00002"):
        np.testing.assert_array_equal(label_of(shards, key), truth[ids])
    assert shards.fields == ("image.jpg", "json", "label.png")


def test_a_label_map_of_another_size_is_listed_and_left_out(tmp_path):
    raw = camvid(tmp_path / "raw")
    save(raw / "trainannot/0001TP_006720.png", labels(0, [1, 2], 20, 16))
    shards = pack("camvid", raw, tmp_path / "out")
    assert sorted(by_key(shards)) == ["0001TP_006690", "0001TP_006750"]
    assert shards.meta["left_out"] == [
        {"source": "train/0001TP_006720.png", "reason": "its label map is 20x16, the image 24x16"}
    ]


def test_synthias_sixteen_bit_labels(tmp_path):
    raw = tmp_path / "raw"
    classes = labels(1, [0, 3, 4, 8, 10, 22, 16, 12])
    truth = np.full(256, IGNORE)
    truth[[3, 4, 8, 10, 16, 12]] = [0, 1, 13, 11, 9, 17]
    save(raw / "RAND_CITYSCAPES/RGB/0000000.png", picture(1))
    instances = np.arange(classes.size).reshape(classes.shape) * 37 % 65536
    png16(raw / "RAND_CITYSCAPES/GT/LABELS/0000000.png", np.stack([classes, instances, instances * 0], -1))
    nineteen = pack("synthia", raw, tmp_path / "19", size="original")
    np.testing.assert_array_equal(label_of(nineteen, "0000000"), truth[classes])
    sixteen = pack("synthia", raw, tmp_path / "16", size="original", options={"label_space": "synthia16"})
    packed = label_of(sixteen, "0000000")
    assert set(np.unique(packed[classes == 16])) == {IGNORE}  # terrain
    assert set(np.unique(packed[classes == 8])) == {label_space("synthia16").classes.index("car")}
    save(raw / "RAND_CITYSCAPES/GT/LABELS/0000000.png", np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(CorruptSample, match=r"0000000\.png: not a 16-bit PNG"):
        pack("synthia", raw, tmp_path / "8")


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_with_either_kind_of_label(tmp_path, kind):
    raw = tmp_path / "raw"
    for city in ("aachen", "bochum"):
        stem = f"{city}_000000_000019"
        save(raw / f"leftImg8bit/val/{city}/{stem}_leftImg8bit.png", picture(1))
        ids = labels(1, [0, *CITYSCAPES_TRAIN]) if kind == "labelIds" else labels(1, [0, 18, 255])
        save(raw / f"gtFine/val/{city}/{stem}_gtFine_{kind}.png", ids)
        save(raw / f"gtFine/val/{city}/{stem}_gtFine_color.png", picture(1))
    shards = pack("cityscapes", raw, tmp_path / "out", "val", size=(12, 8))
    assert sorted(by_key(shards)) == ["aachen_000000_000019", "bochum_000000_000019"]
    truth = np.vectorize(lambda i: CITYSCAPES_TRAIN.get(i, IGNORE))(ids) if kind == "labelIds" else ids
    np.testing.assert_array_equal(label_of(shards, "bochum_000000_000019"), truth)  # whole: val is for scoring
    assert image_of(shards, "bochum_000000_000019").shape == (8, 12, 3)


def test_cityscapes_without_labels_packs_as_images(tmp_path):
    raw = tmp_path / "raw"
    save(raw / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png", picture(1))
    shards = pack("cityscapes", raw, tmp_path / "out", size=(12, 8))
    assert shards.fields == ("image.jpg", "json")
    assert shards.label_space is None
    with pytest.raises(DataError, match=r"labelIds\.png: the images have no labels"):
        pack("cityscapes", raw, tmp_path / "out2", labels=True)


def test_folder_takes_any_images_and_a_users_own_recipe_maps_its_ids(tmp_path):
    raw = tmp_path / "raw"
    save(raw / "a.b/x y.png", picture(1))
    save(raw / "z.jpg", picture(2))
    (raw / "notes.txt").write_text("no image")
    assert sorted(by_key(pack("folder", raw, tmp_path / "all", "all"))) == ["a_b-x_y", "z"]
    with pytest.raises(DataError, match=r"no images of folder's split 'train'.*train/images/\*\*"):
        pack("folder", raw, tmp_path / "none")
    save(raw / "train/pictures/1.png", picture(1))
    save(raw / "train/truth/1.png", labels(1, [5, 7, 9]))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        """
        name: mine
        label_space: {name: two, classes: [way, rest], palette: [[1, 2, 3], [4, 5, 6]]}
        forms: [{images: "{split}/pictures/*.png", labels: "{split}/truth/{1}.png", ids: {5: way, 7: 1, 9: ignore}}]
        splits: {train: {}}
        """
    )
    mine = pack(recipe, raw, tmp_path / "mine")
    truth = np.vectorize({5: 0, 7: 1, 9: 255}.get)(labels(1, [5, 7, 9]))
    np.testing.assert_array_equal(label_of(mine, "1"), truth)
    assert mine.label_space is not None
    assert mine.label_space.classes == ("way", "rest")


def test_a_list_file_chooses_the_split(tmp_path):
    raw = camvid(tmp_path / "raw", 4)
    (raw / "mine.txt").write_text("/old/place/0001TP_006720.png /old/annot.png\n\n0001TP_006690\n")
    shards = pack("camvid", raw, tmp_path / "out", options={"list": "mine.txt"})
    assert sorted(by_key(shards)) == ["0001TP_006690", "0001TP_006720"]
    (raw / "mine.txt").write_text("0001TP_999999.png\n")
    with pytest.raises(DataError, match=r"mine\.txt: the listed image 0001TP_999999\.png is missing"):
        pack("camvid", raw, tmp_path / "out2", options={"list": "mine.txt"})


@pytest.mark.parametrize("appearance", ["synthetic", "photo"])
def test_streets_are_rendered_while_packing(tmp_path, appearance):
    from cirn_dist.data.streets import render

    options = {"count": 3, "appearance": appearance, "seed": 5}
    shards = pack("streets", None, tmp_path / "out", size=(64, 48), codec="png", options=options)
    key = f"{appearance}-5-0000002"
    assert key in by_key(shards)
    image, label = render(5, 2, 64, 48, appearance=appearance)
    np.testing.assert_array_equal(image_of(shards, key), image)
    np.testing.assert_array_equal(label_of(shards, key), label)
    val = pack("streets", None, tmp_path / "val", "val", size=(64, 48), options={"count": 2})
    assert not set(by_key(val)) & {f"synthetic-0-{index:07d}" for index in range(1000)}


# ---- what is packed


def test_without_labels_no_label_file_is_looked_at(tmp_path, monkeypatch):
    raw = camvid(tmp_path / "raw")
    whole = pack("camvid", raw, tmp_path / "with", labels=False)
    for path in (raw / "trainannot").iterdir():
        path.unlink()
    opened = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (opened.append(path), real(path))[1])
    monkeypatch.setattr(Path, "is_file", lambda path, real=Path.is_file: (opened.append(path), real(path))[1])
    without = pack("camvid", raw, tmp_path / "without", labels=False)
    assert opened
    assert not [path for path in opened if "annot" in str(path)]
    assert without.fingerprint == whole.fingerprint


def test_training_sets_resize_image_and_label_and_scoring_sets_leave_the_label_whole(tmp_path):
    raw = camvid(camvid(tmp_path / "raw", 1), 1, "val")
    train = pack("camvid", raw, tmp_path / "train", size=(12, 8))
    truth = np.asarray(Image.open(raw / "trainannot/0001TP_006690.png"))
    expected = np.asarray(Image.fromarray(truth).resize((12, 8), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(label_of(train, "0001TP_006690"), np.where(expected == 11, IGNORE, expected))
    expected = np.asarray(Image.fromarray(picture(0)).resize((12, 8), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(image_of(train, "0001TP_006690"), expected)
    val = pack("camvid", raw, tmp_path / "val", size=(12, 8), label_size="original")
    assert image_of(val, "0001TP_006690").shape == (8, 12, 3)
    np.testing.assert_array_equal(label_of(val, "0001TP_006690"), np.where(truth == 11, IGNORE, truth))


@pytest.mark.parametrize(("codec", "field"), [("jpeg95", "image.jpg"), ("png", "image.png"), ("webp", "image.webp")])
def test_codecs(tmp_path, codec, field):
    shards = pack("camvid", camvid(tmp_path / "raw", 1), tmp_path / "out", codec=codec, size="original")
    assert shards.image_field == field
    difference = np.abs(image_of(shards, "0001TP_006690").astype(int) - picture(0)).max()
    assert difference <= (12 if codec == "jpeg95" else 0)


def test_samples_are_mixed_over_the_shards(tmp_path):
    shards = pack("camvid", camvid(tmp_path / "raw", 40), tmp_path / "out", shard_mb=0.02)
    keys = [shards.key(i) for i in range(40)]
    assert len(shards.shards) > 1
    assert keys != sorted(keys)
    gaps = [abs(int(a[-6:]) - int(b[-6:])) // 30 for a, b in itertools.pairwise(keys)]
    assert np.mean(gaps) > 8  # 13.3 expected of a random order, 1 of a sorted one


# ---- reproducible, resumable


def test_packing_gives_the_same_bytes_with_any_number_of_workers(tmp_path):
    raw = camvid(tmp_path / "raw", 8)
    seen = []
    one = pack("camvid", raw, tmp_path / "one", shard_mb=0.002, progress=lambda done, total: seen.append((done, total)))
    two = pack("camvid", raw, tmp_path / "two", shard_mb=0.002, workers=2)
    assert len(one.shards) > 2
    assert contents(one.path) == contents(two.path)
    assert seen == [(done, 8) for done in range(9)]
    assert not [name for name in contents(one.path) if "record" in name or name == "pack.json" or "partial" in name]


def test_errors_of_workers_are_the_same_errors(tmp_path):
    raw = camvid(tmp_path / "raw", 4)
    (raw / "train/0001TP_006720.png").write_bytes(b"")
    with pytest.raises(CorruptSample, match=r"0001TP_006720\.png: empty file"):
        pack("camvid", raw, tmp_path / "out", workers=2)


def test_a_finished_set_is_recognised_even_without_its_raw_folder(tmp_path):
    raw = camvid(tmp_path / "raw")
    first = pack("camvid", raw, tmp_path / "out", size=(12, 8))
    assert pack("camvid", tmp_path / "gone", tmp_path / "out", size=(12, 8)).fingerprint == first.fingerprint
    with pytest.raises(DataError, match=r"out: packed with other options: size \[12, 8\], now \[24, 16\]; codec 'png'"):
        pack("camvid", raw, tmp_path / "out", size=(24, 16), codec="webp")


class Stop(Exception):
    pass


def test_an_interrupted_packing_keeps_its_shards_and_goes_on(tmp_path):
    raw = camvid(tmp_path / "raw", 8)
    whole = contents(pack("camvid", raw, tmp_path / "whole", shard_mb=0.002).path)

    def stop(done, total):
        if done == 5:
            raise Stop

    out = tmp_path / "out"
    with pytest.raises(Stop):
        pack("camvid", raw, out, shard_mb=0.002, progress=stop)
    tars = sorted(out.glob("*.tar"))
    assert tars
    assert not list(out.glob(".*"))
    with pytest.raises(DataError, match="not a complete"):
        ShardSet.open(out)
    with pytest.raises(DataError, match="other options: codec"):
        pack("camvid", raw, out, shard_mb=0.002, codec="webp")
    written = {path: path.stat().st_mtime_ns for path in tars}
    seen = []
    pack("camvid", raw, out, shard_mb=0.002, progress=lambda done, total: seen.append(done))
    assert contents(out) == whole
    assert {path: path.stat().st_mtime_ns for path in tars} == written  # kept, not written again
    assert seen[0] > 0


def test_a_raw_folder_that_changed_in_between_is_noticed(tmp_path):
    raw = camvid(tmp_path / "raw", 8)

    def stop(done, total):
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        pack("camvid", raw, tmp_path / "out", shard_mb=0.002, progress=stop)
    camvid(raw, 9)
    with pytest.raises(DataError, match="the raw folder changed"):
        pack("camvid", raw, tmp_path / "out", shard_mb=0.002)


def test_nothing_is_left_when_nothing_was_finished(tmp_path):
    raw = camvid(tmp_path / "raw")
    save(raw / "trainannot/0001TP_006720.png", labels(0, [12]))
    with pytest.raises(CorruptSample):
        pack("camvid", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


SLOW = """
    import sys, time
    def slow(done, total):
        time.sleep(0.05)
    if __name__ == "__main__":
        from cirn_dist.data.pack import pack
        pack("camvid", sys.argv[1], sys.argv[2], shard_mb=0.002, workers=int(sys.argv[3]), progress=slow)
"""


def test_kill_9_while_packing(tmp_path):
    raw, out, script = camvid(tmp_path / "raw", 16), tmp_path / "out", tmp_path / "script.py"
    script.write_text(textwrap.dedent(SLOW))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(raw), str(out), "2"]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    deadline = time.monotonic() + 180
    while not list(out.glob("train-000001.record.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)  # the parent alone: its workers must notice
    process.wait()
    with pytest.raises(DataError, match="not a complete"):
        ShardSet.open(out)
    kept = {path.name for path in out.glob("*.tar")}
    assert len(kept) >= 2
    while _alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pack("camvid", raw, out, shard_mb=0.002)
    assert contents(out) == contents(pack("camvid", raw, tmp_path / "whole", shard_mb=0.002).path)


def _alive(group: int) -> bool:
    """Whether any process of the killed packing is still there, zombies apart."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


# ---- bad input


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_or_empty_folder_is_named(tmp_path, make):
    raw = tmp_path / "raw"
    if make:
        raw.mkdir()
    with pytest.raises(DataError, match=f"{raw}: (no such folder|no images of camvid's split 'train')"):
        pack("camvid", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_id_names_the_file_and_the_id(tmp_path):
    raw = camvid(tmp_path / "raw", 1)
    save(raw / "trainannot/0001TP_006690.png", labels(0, [1, 77]))
    with pytest.raises(DataError, match=r"trainannot/0001TP_006690\.png: unknown label id 77"):
        pack("camvid", raw, tmp_path / "out")
    colours = np.full((16, 24, 3), (1, 2, 3), np.uint8)
    save(tmp_path / "other/701_StillsRaw_full/0001TP_006690.png", picture(1))
    save(tmp_path / "other/LabeledApproved_full/0001TP_006690_L.png", colours)
    with pytest.raises(DataError, match=r"0001TP_006690_L\.png: unknown label colour \(1, 2, 3\)"):
        pack("camvid", tmp_path / "other", tmp_path / "out")


def bytes_of(array: np.ndarray, mode: str, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).convert(mode).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"GIF89a?", "cannot be decoded"),
        (bytes_of(picture(0), "RGB", "PNG")[:90], "cannot be decoded"),
        (bytes_of(picture(0), "CMYK", "JPEG"), "CMYK"),
        (bytes_of(picture(0), "I;16", "PNG"), "16 bits"),
    ],
)
def test_an_unreadable_image_is_named(tmp_path, data, reason):
    raw = camvid(tmp_path / "raw", 1)
    (raw / "train/0001TP_006690.png").write_bytes(data)
    with pytest.raises(CorruptSample, match=rf"train/0001TP_006690\.png: .*{reason}"):
        pack("camvid", raw, tmp_path / "out")


def test_a_missing_label_is_named(tmp_path):
    raw = camvid(tmp_path / "raw")
    (raw / "trainannot/0001TP_006750.png").unlink()
    with pytest.raises(DataError, match=r"trainannot/0001TP_006750\.png: 1 labels are missing"):
        pack("camvid", raw, tmp_path / "out")


def test_two_images_with_one_key_are_named(tmp_path):
    save(tmp_path / "raw/images/train/a.png", picture(1))
    save(tmp_path / "raw/images/train/a.jpg", picture(1))
    with pytest.raises(DataError, match=r"two images have the key 'a': images/train/a\.jpg and images/train/a\.png"):
        pack("folder", tmp_path / "raw", tmp_path / "out")


def test_a_folder_with_other_things_in_it_is_not_packed_into(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        pack("camvid", camvid(tmp_path / "raw"), tmp_path / "out")


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only"), (errno.EACCES, "denied")]
)
def test_a_disk_that_refuses_is_one_line_and_leaves_no_half_file(tmp_path, monkeypatch, number, reason):
    raw, out = camvid(tmp_path / "raw", 8), tmp_path / "out"
    real, calls = files.os.replace, []

    def replace(source, target):
        calls.append(target)
        if str(target).endswith("train-000001.tar"):
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(DataError, match=rf"train-000001\.tar: .*{reason}"):
        pack("camvid", raw, out, shard_mb=0.002)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["pack.json", "train-000000.idx.npy", "train-000000.record.json", "train-000000.tar"]
    monkeypatch.undo()
    assert len(pack("camvid", raw, out, shard_mb=0.002)) == 8


def test_a_really_full_device(tmp_path):
    with (
        pytest.raises(DataError, match="No space left on device"),
        files.writing_into(tmp_path),
        open("/dev/full", "wb") as full,
    ):
        full.write(b"x" * 100_000)


def test_recipes_that_cannot_be_used(tmp_path):
    recipe = tmp_path / "r.yaml"
    for text, reason in (
        ("name: [", "cannot be read as YAML"),
        ("- a", "a recipe is a mapping"),
        ("name: x", "label_space: Field required"),
        ("name: x\nlabel_space: camvid11\nsplits: {train: {}}\ncolour: 3", "colour: Extra inputs"),
        ("name: x\nlabel_space: kitti\nsplits: {train: {}}", "unknown label space"),
        (
            "name: x\nlabel_space: {name: y, classes: [a, b], palette: [[0,0,0]]}\nsplits: {train: {}}",
            "one palette colour",
        ),
        ("name: x\nlabel_space: camvid11\nsplits: {train: {}}\ncodec: gif", "codec"),
        ("name: x\nlabel_space: camvid11\nsplits: {val: {}}", "no split 'train'"),
    ):
        recipe.write_text(text)
        with pytest.raises(ConfigError, match=reason) as caught:
            pack(recipe, camvid(tmp_path / "raw"), tmp_path / "out")
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="camvid"):
        pack("camvit", tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="unknown codec 'gif'"):
        pack("camvid", tmp_path, tmp_path / "out", codec="gif")


def test_an_incomplete_download_is_mentioned(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        pack("camvid", camvid(tmp_path / "raw"), tmp_path / "out")
    assert "3 images found, 367 were published" in caplog.text


def test_real_camvid_packs(tmp_path):
    raw = Path(__file__).parents[2].parent / "shared/data/camvid"
    if not raw.is_dir():
        pytest.skip("no CamVid beside the checkout")
    shards = pack("camvid", raw, tmp_path / "out", "val", size=(120, 90), options={"list": None})
    assert len(shards) == 101
    assert label_of(shards, "0016E5_07959").shape == (360, 480)
    assert sum(shards.meta["class_pixels"]) + shards.meta["ignored_pixels"] == 101 * 360 * 480


images = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))


@settings(max_examples=12, deadline=None)
@given(st.lists(images, min_size=1, max_size=6), st.sampled_from(["png", "webp"]), st.sampled_from([0.0001, 1]))
def test_any_images_and_labels_come_back(drawn, codec, shard_mb):
    with tempfile.TemporaryDirectory() as folder:
        raw, truth = Path(folder, "raw"), {}
        for number, (width, height, seed) in enumerate(drawn):
            draw = np.random.default_rng(seed)
            image = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
            label = draw.choice(np.array([*range(11), 255], np.uint8), (height, width))
            save(raw / f"train/images/{number}.png", image)
            save(raw / f"train/labels/{number}.png", label)
            truth[str(number)] = image, label
        shards = pack("folder", raw, Path(folder, "out"), codec=codec, shard_mb=shard_mb)
        assert sorted(by_key(shards)) == sorted(truth)
        for key, (image, label) in truth.items():
            np.testing.assert_array_equal(image_of(shards, key), image)
            np.testing.assert_array_equal(label_of(shards, key), label)
