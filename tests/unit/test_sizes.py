"""Labels that do not lie on their image: told wherever both are read, never trained on or scored."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rawdata import labels, picture, save
from stagerun import stage_run

from cirn_dist.data.decode import encode_image, encode_label
from cirn_dist.data.labels import label_space
from cirn_dist.data.loading.stream import Stream
from cirn_dist.data.loading.transforms import SegmentationTransform
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.shards.foreign import index_foreign
from cirn_dist.data.shards.repair import repair
from cirn_dist.data.shards.samples import Entry, json_field
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.data.shards.stats import Stats
from cirn_dist.data.shards.verify import verify
from cirn_dist.data.shards.writer import finish, write_shard
from cirn_dist.errors import CorruptSample, DataError
from cirn_dist.stages.evaluate.miou import evaluate
from cirn_dist.stages.segmenter import build_segmenter
from cirn_dist.stages.translate.ready_made import readymade

REASON = "its label map is 12x8, the image 24x16"
FULL, HALF = (24, 16), (12, 8)


def sample(number: int, size: tuple[int, int] = FULL, original: tuple[int, int] | None = None) -> dict[str, bytes]:
    """An image of 24x16 whose label has a size of its own; `original` is the image's before it was packed."""
    made = {"image.png": encode_image(Image.fromarray(picture(number, *FULL)), "png")}
    made["label.png"] = encode_label(labels(number, [0, 3, 10, 255], *size))
    return made | ({"json": json_field({"size": list(original)})} if original else {})


def written(folder: Path, samples: list[dict[str, bytes]], **made: object) -> ShardSet:
    write_shard(folder, "s", ((f"k{number}", one) for number, one in enumerate(samples)))
    return finish(folder, ["s"], name="x", label_space=label_space("camvid11"), made=made)


def foreign(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as tar:
        for number, size in enumerate(sizes):
            for field, data in sample(number, size).items():
                info = tarfile.TarInfo(f"{number:03d}.{field}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return folder


def indexed(folder: Path) -> ShardSet:
    return index_foreign(folder, image="image.png", label="label.png", space="camvid11")


def test_more_than_a_tenth_is_refused_before_there_is_a_set(tmp_path):
    folder = foreign(tmp_path / "t", [FULL] * 17 + [HALF] * 2)
    with pytest.raises(DataError, match=rf"t: 2 of 19 samples cannot be used, first a\.tar \[017\] {REASON}"):
        indexed(folder)
    assert not (folder / "index.json").exists()


def test_a_tenth_is_counted_and_told_and_neither_trained_on_nor_repaired(tmp_path):
    shards = indexed(foreign(tmp_path / "t", [FULL] * 18 + [HALF] * 2))
    assert shards.meta["made"]["unreadable"] == 2
    (note,) = shards.meta["notes"]
    assert note.startswith(f"2 of 20 samples cannot be used, first a.tar [018] {REASON}; training replaces them")
    assert note.endswith("repair leaves them out")
    counted = sum(np.bincount(labels(i, [0, 3, 10, 255], *FULL).ravel(), minlength=256)[:11] for i in range(18))
    assert shards.meta["class_pixels"] == counted.tolist()
    found = verify(shards.path).bad
    assert [(bad.key, bad.field, bad.reason) for bad in found] == [(k, "label.png", REASON) for k in ("018", "019")]
    assert len(repair(shards.path, tmp_path / "out").shards) == 18
    stream = Stream(shards, SegmentationTransform(crop=(8, 8)), seed=0, name="source")
    assert all(stream[k]["label"].shape == (8, 8) for k in range(20))
    assert stream.bad == [18, 19]


@pytest.mark.parametrize("crop", [(8, 8), None])
def test_the_stream_names_the_label_and_both_sizes(crop):
    with pytest.raises(CorruptSample, match=f"label.png: {REASON}"):
        SegmentationTransform(crop=crop)(sample(1, HALF), np.zeros(10))


def test_a_label_that_kept_its_size_is_taken_where_nothing_is_cut_out():
    whole = sample(1, (48, 32), original=(48, 32))
    assert SegmentationTransform(scales=(0.5,))(whole, np.zeros(10))["label"].shape == (32, 48)
    with pytest.raises(CorruptSample, match="48x32, the image 24x16: packed at their own size, labels are for"):
        SegmentationTransform(crop=(8, 8))(whole, np.zeros(10))


def test_verify_takes_the_original_size_only_where_labels_were_left_whole(tmp_path):
    samples = [sample(0, (48, 32), (48, 32)), sample(1, FULL, (48, 32)), sample(2, HALF, (48, 32))]
    assert [bad.key for bad in verify(written(tmp_path / "a", samples, label_size="original").path).bad] == ["k2"]
    assert [bad.key for bad in verify(written(tmp_path / "b", samples, parent="0").path).bad] == ["k2"]
    assert [bad.key for bad in verify(written(tmp_path / "c", samples, label_size="image").path).bad] == ["k0", "k2"]
    odd = [{**sample(0, (48, 32)), "json": json} for json in (b"", b"[]", b'{"size": null}', b'{"size": ["a", "b"]}')]
    assert len(verify(written(tmp_path / "d", odd, label_size="original").path).bad) == 4


def test_sets_packed_for_training_and_for_scoring_are_whole(tmp_path):
    for i in range(2):
        save(tmp_path / f"raw/train/images/{i}.png", picture(i, 48, 32))
        save(tmp_path / f"raw/train/labels/{i}.png", labels(i, [0, 1], 48, 32))
    for label_size in ("image", "original"):
        options = {"label_space": "camvid11"}
        packed = pack("folder", tmp_path / "raw", tmp_path / label_size, size=FULL, label_size=label_size,
                      options=options)  # fmt: skip
        assert verify(packed.path).ok


def test_scoring_stops_at_a_label_of_another_place(tmp_path):
    run = stage_run(tmp_path / "run")
    segmenter = build_segmenter(run, with_acm=True)
    shards = written(tmp_path / "s", [sample(0), sample(1, HALF)])
    with pytest.raises(CorruptSample, match=rf"s\.tar \[k1\] label\.png: {REASON}"):
        evaluate(run, segmenter, shards)
    whole = written(tmp_path / "w", [sample(0, FULL, FULL), sample(1, (48, 32), (48, 32))], label_size="original")
    assert 0 <= (evaluate(run, segmenter, whole).miou or 0) <= 1


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]], ids=["where it lies", "joined by key"])
def test_ready_made_images_whose_own_labels_do_not_fit_are_refused(order, tmp_path):
    source = written(tmp_path / "source", [sample(i) for i in range(3)])
    write_shard(tmp_path / "made", "all", ((f"k{i}", sample(i, HALF if i == 1 else FULL)) for i in order))
    finish(tmp_path / "made", ["all"], name="made", label_space=source.label_space)
    run = stage_run(tmp_path / "run", "translate.method=shards", f"translate.shards={tmp_path / 'made'}")
    with pytest.raises(DataError, match=rf"made \[k1\]: {REASON}; pack the translated images"):
        readymade(run, source, tmp_path / "made")


def test_a_ready_made_image_that_cannot_be_read_is_named(tmp_path):
    source = written(tmp_path / "source", [sample(i) for i in range(3)])
    data = [sample(0)["image.png"], b"torn", sample(2)["image.png"]]
    write_shard(tmp_path / "made", "all", (Entry(f"k{i}", {"image.png": one}, Stats()) for i, one in enumerate(data)))
    finish(tmp_path / "made", ["all"], name="made", label_space=None)
    run = stage_run(tmp_path / "run", "translate.method=shards", f"translate.shards={tmp_path / 'made'}")
    with pytest.raises(CorruptSample, match=r"made all\.tar \[k1\]: cannot be decoded"):
        readymade(run, source, tmp_path / "made")
