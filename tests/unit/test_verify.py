from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from rawdata import camvid, flip, jpeg, picture, sample, shard_set

from cirn_dist.data.decode import encode_label
from cirn_dist.data.labels import label_space
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.shards.info import info
from cirn_dist.data.shards.repair import repair
from cirn_dist.data.shards.samples import Entry
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.data.shards.stats import Stats
from cirn_dist.data.shards.verify import verify
from cirn_dist.data.shards.writer import finish, write_shard
from cirn_dist.errors import DataError
from cirn_dist.measure.reading import bench_data

SHA = "the file differs from what was written (sha256)"


def place(folder: Path, shard: int, row: int, field: int) -> int:
    return int(np.load(folder / f"s-{shard:06d}.idx.npy")[row, field, 0])


def named(folder: Path, workers: int = 1) -> list[tuple[str, str, str]]:
    return [(bad.shard, bad.key, bad.field) for bad in verify(folder, workers=workers).bad]


def test_a_whole_set_has_nothing_to_report(tmp_path):
    shard_set(tmp_path, [70, 3])
    seen = []
    found = verify(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert found.ok
    assert found.samples == 73
    assert seen == [(64, 73), (70, 73), (73, 73)]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_bad_sample_is_reported_by_shard_key_and_field(tmp_path, workers):
    shard_set(tmp_path, [3, 3])
    flip(tmp_path / "s-000000.tar", place(tmp_path, 0, 1, 0) + 20)
    flip(tmp_path / "s-000001.tar", place(tmp_path, 1, 0, 2) + 20)
    flip(tmp_path / "s-000001.tar", place(tmp_path, 1, 2, 1) + 3)
    assert named(tmp_path, workers) == [
        ("s-000000.tar", "", ""),
        ("s-000000.tar", "key-000001", "image.png"),
        ("s-000001.tar", "", ""),
        ("s-000001.tar", "key-000003", "label.png"),
        ("s-000001.tar", "key-000005", "json"),
    ]


def test_a_flipped_bit_in_a_header_is_reported(tmp_path):
    shard_set(tmp_path, [2])
    flip(tmp_path / "s-000000.tar", place(tmp_path, 0, 1, 0) - 512 + 3)
    found = verify(tmp_path).bad
    assert found[0].reason == SHA
    assert [bad.key for bad in found[1:]] == ["sample 1"]


def test_a_truncated_and_a_missing_tar_are_reported(tmp_path):
    shard_set(tmp_path, [2, 1])
    os.truncate(tmp_path / "s-000000.tar", place(tmp_path, 0, 1, 2) + 1)
    (tmp_path / "s-000001.tar").unlink()
    found = verify(tmp_path).bad
    assert [(bad.shard, bad.key, bad.reason) for bad in found] == [
        ("s-000000.tar", "", SHA),
        ("s-000000.tar", "key-000001", "the tar ends before the member does"),
        ("s-000001.tar", "", "missing"),
    ]


def test_samples_that_were_written_bad_are_reported(tmp_path):
    """Right sums, wrong content: zero bytes, CMYK, an id that is no class."""
    good = sample(0)
    del good["image.png"]
    bad = [
        {**good, "image.jpg": b""},
        {**good, "image.jpg": jpeg(picture(1), "CMYK")},
        {**good, "image.jpg": jpeg(picture(1)), "label.png": encode_label(np.full((16, 24), 11, np.uint8))},
    ]
    entries = [Entry(f"k{number}", one, Stats()) for number, one in enumerate(bad)]
    write_shard(tmp_path, "s", [*entries, ("k3", {**good, "image.jpg": jpeg(picture(2))})])
    finish(tmp_path, ["s"], name="x", label_space=label_space("camvid11"))
    found = verify(tmp_path).bad
    assert [(one.key, one.field) for one in found] == [("k0", "image.jpg"), ("k1", "image.jpg"), ("k2", "label.png")]
    assert "unknown train id 11" in found[2].reason
    assert str(found[0]) == "s.tar [k0] image.jpg"


def test_repair_writes_the_whole_samples_byte_for_byte_and_names_the_others(tmp_path):
    damaged, out = tmp_path / "damaged", tmp_path / "out"
    shard_set(damaged, [3, 2])
    flip(damaged / "s-000000.tar", place(damaged, 0, 1, 0) + 20)
    os.truncate(damaged / "s-000001.tar", place(damaged, 1, 1, 0))
    repaired = repair(damaged, out)
    assert [(bad.key, bad.field) for bad in repaired.left_out] == [
        ("key-000001", "image.png"),
        ("key-000004", "image.png"),
    ]
    shards = ShardSet.open(out)
    assert [shards.key(i) for i in range(len(shards))] == ["key-000000", "key-000002", "key-000003"]
    assert [shards.read(i) for i in range(3)] == [sample(0), sample(2), sample(3)]
    assert verify(out).ok
    assert [one["source"] for one in shards.meta["left_out"]] == [
        "s-000000.tar [key-000001] image.png",
        "s-000001.tar [key-000004] image.png",
    ]
    whole = shard_set(tmp_path / "whole", [3, 2])
    assert shards.label_space == whole.label_space
    with pytest.raises(DataError, match="not an empty folder"):
        repair(damaged, out)


def test_repair_of_nothing_but_bad_samples_says_so(tmp_path):
    shard_set(tmp_path / "a", [1])
    flip(tmp_path / "a/s-000000.tar", place(tmp_path / "a", 0, 0, 0) + 20)
    with pytest.raises(DataError, match=r"no samples to write: first s-000000\.tar \[key-000000\] image\.png"):
        repair(tmp_path / "a", tmp_path / "b")


def test_info_says_what_a_set_is(tmp_path):
    pack("camvid", camvid(tmp_path / "raw"), tmp_path / "out", size=(12, 8))
    found = info(tmp_path / "out")
    assert (found.name, found.samples, found.size, found.label_space) == ("camvid-train", 3, (12, 8), "camvid11")
    assert [name for name, _ in found.classes] == [*label_space("camvid11").classes, "ignored"]
    assert sum(share for _, share in found.classes) == pytest.approx(1)
    assert found.bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar"))
    pack("camvid", tmp_path / "raw", tmp_path / "images", labels=False)
    assert info(tmp_path / "images").classes == ()


def test_bench_measures(tmp_path):
    shard_set(tmp_path, [4])
    steps = []
    found = bench_data(tmp_path, seconds=0.02, workers=[0, 1], progress=lambda done, total: steps.append((done, total)))
    assert found.image == "24x16 PNG with labels"
    assert min(found.pillow, found.stream, found.webdataset, *found.loader.values()) > 0
    assert found.torchvision is None
    assert 0 < found.share < 5
    assert found.first_at_1e8 < 1
    assert steps == [(done, 7) for done in range(1, 8)]
