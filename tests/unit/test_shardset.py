from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rawdata import flip, sample, shard_set

from cirn_dist.data.shards import shardset as index_module
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.data.shards.writer import finish, write_shard
from cirn_dist.errors import CorruptSample, DataError
from cirn_dist.files import read_json


def places(folder: Path, shard: int = 0) -> np.ndarray:
    return np.load(folder / f"s-{shard:06d}.idx.npy")


def test_samples_come_back_as_written_across_shards(tmp_path):
    shards = shard_set(tmp_path, [3, 1, 2])
    assert len(shards) == 6
    assert shards.fields == ("image.png", "json", "label.png")
    assert (shards.image_field, shards.has_labels) == ("image.png", True)
    assert shards.label_space is not None
    assert shards.label_space.name == "camvid11"
    for i in range(6):
        assert shards.key(i) == f"key-{i:06d}"
        assert shards.read(i) == sample(i)
    with pytest.raises(IndexError):
        shards.read(6)


def test_a_set_without_its_index_json_is_not_a_set(tmp_path):
    write_shard(tmp_path, "s-000000", [("a", sample(0))])
    with pytest.raises(DataError, match=r"not a complete shard set"):
        ShardSet.open(tmp_path)


def test_finish_refuses_a_shard_that_is_not_finished(tmp_path):
    write_shard(tmp_path, "s-000000", [("a", sample(0))])
    with pytest.raises(DataError, match=r"s-000001.tar: the shard is not finished"):
        finish(tmp_path, ["s-000000", "s-000001"], name="x", label_space=None)
    assert not (tmp_path / "index.json").exists()


def test_a_finished_shard_is_kept_and_its_samples_are_not_even_made(tmp_path):
    first = write_shard(tmp_path, "s", [("a", sample(0))], token="t")

    never = (pytest.fail(f"sample {i} was made") for i in range(1))
    assert write_shard(tmp_path, "s", never, token="t") == first
    second = write_shard(tmp_path, "s", [("b", sample(1))], token="other")
    assert second["sha256"] != first["sha256"]


def test_rewriting_a_shard_takes_the_old_index_away(tmp_path):
    shard_set(tmp_path, [1])
    write_shard(tmp_path, "s-000000", [("b", sample(1))], token="other")
    with pytest.raises(DataError, match="not a complete"):
        ShardSet.open(tmp_path)


def test_a_failing_shard_leaves_nothing_behind(tmp_path):
    def samples():
        yield "a", sample(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path, "s", samples())
    assert list(tmp_path.iterdir()) == []


def test_the_same_samples_give_the_same_bytes(tmp_path):
    one, two = shard_set(tmp_path / "one", [2, 1]), shard_set(tmp_path / "two", [2, 1])
    for path in sorted(one.path.iterdir()):
        assert path.read_bytes() == (two.path / path.name).read_bytes()
    assert one.fingerprint == two.fingerprint
    assert sorted(path.name for path in one.path.iterdir()) == [
        "index.json", "s-000000.classes.npy", "s-000000.idx.npy", "s-000000.tar", "s-000001.classes.npy",
        "s-000001.idx.npy", "s-000001.tar",
    ]  # fmt: skip


def test_class_pixels_mean_and_std_are_those_of_the_images(tmp_path):
    from cirn_dist.data.loading.transforms import decode_image, decode_label

    shards = shard_set(tmp_path, [2, 2])
    labels = np.stack([decode_label(shards.read(i)["label.png"]) for i in range(4)])
    images = np.stack([decode_image(shards.read(i)["image.png"]) for i in range(4)]) / 255
    assert shards.meta["class_pixels"] == [int((labels == c).sum()) for c in range(11)]
    assert shards.meta["ignored_pixels"] == int((labels == 255).sum())
    np.testing.assert_allclose(shards.meta["mean"], images.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(shards.meta["std"], images.std((0, 1, 2)), atol=1e-12)


def test_a_flipped_bit_is_named_by_shard_key_and_field(tmp_path):
    shard_set(tmp_path, [2, 2])
    offset, size, _ = places(tmp_path, 1)[1, 0].tolist()
    flip(tmp_path / "s-000001.tar", offset + size // 2)
    shards = ShardSet.open(tmp_path)
    for i in range(3):
        shards.read(i)
    with pytest.raises(CorruptSample, match=r"s-000001\.tar \[key-000003\] image\.png: .*crc32"):
        shards.read(3)


def test_two_labels_that_changed_places_are_noticed(tmp_path):
    shard_set(tmp_path, [2])
    (first, second) = places(tmp_path)[:, 2, :].tolist()
    data = bytearray((tmp_path / "s-000000.tar").read_bytes())
    size = min(first[1], second[1])
    one, two = data[first[0] : first[0] + size], data[second[0] : second[0] + size]
    data[first[0] : first[0] + size], data[second[0] : second[0] + size] = two, one
    (tmp_path / "s-000000.tar").write_bytes(data)
    with pytest.raises(CorruptSample, match=r"label\.png"):
        ShardSet.open(tmp_path).read(0)


def test_a_truncated_tar_is_refused_on_opening_and_when_it_shrinks_later(tmp_path):
    shards = shard_set(tmp_path, [2])
    tar = tmp_path / "s-000000.tar"
    os.truncate(tar, int(places(tmp_path)[1, 2, 0]) + 1)
    with pytest.raises(CorruptSample, match=r"\[key-000001\] label\.png: the tar ends before"):
        shards.read(1)
    with pytest.raises(DataError, match="truncated or replaced after indexing"):
        ShardSet.open(tmp_path)


def test_a_tar_replaced_by_one_of_the_same_size_is_noticed_by_its_bytes(tmp_path):
    shard_set(tmp_path / "a", [2])
    write_shard(tmp_path / "b", "s-000000", [(f"key-{k:06d}", sample(k + 50)) for k in range(2)])
    assert (tmp_path / "a/s-000000.tar").stat().st_size == (tmp_path / "b/s-000000.tar").stat().st_size
    shutil.copy(tmp_path / "b/s-000000.tar", tmp_path / "a/s-000000.tar")
    with pytest.raises(CorruptSample):
        ShardSet.open(tmp_path / "a").read(1)


@pytest.mark.parametrize("name", ["s-000000.tar", "s-000000.idx.npy"])
def test_a_missing_file_is_named(tmp_path, name):
    shard_set(tmp_path, [1])
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name}: missing"):
        ShardSet.open(tmp_path)


def test_a_damaged_index_is_refused(tmp_path):
    shard_set(tmp_path, [2])
    index = tmp_path / "s-000000.idx.npy"
    whole = index.read_bytes()
    index.write_bytes(whole[:60] + b"x" * (len(whole) - 60))
    with pytest.raises(DataError, match=r"s-000000\.idx\.npy"):
        ShardSet.open(tmp_path).read(0)
    index.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"s-000000\.idx\.npy"):
        ShardSet.open(tmp_path).read(0)


def test_an_edited_index_json_is_refused(tmp_path):
    shard_set(tmp_path, [2])
    path = tmp_path / "index.json"
    path.write_text(path.read_text().replace('"samples": 2', '"samples": 1'))
    with pytest.raises(DataError, match="fingerprint differs"):
        ShardSet.open(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        ShardSet.open(tmp_path)
    path.write_text("[]")
    with pytest.raises(DataError, match="not of the format"):
        ShardSet.open(tmp_path)


def test_a_file_system_without_mmap_is_read_into_memory(tmp_path, monkeypatch):
    shard_set(tmp_path, [2])
    real = np.load

    def load(path, mmap_mode=None, **options):
        if mmap_mode:
            raise OSError(19, "No such device")
        return real(path, **options)

    monkeypatch.setattr(index_module.np, "load", load)
    assert ShardSet.open(tmp_path).read(1) == sample(1)


def test_a_set_travels_to_another_process_without_its_open_files(tmp_path):
    shards = shard_set(tmp_path, [2])
    shards.read(0)
    copy = pickle.loads(pickle.dumps(shards))
    assert copy._opened == {}
    assert copy.read(1) == sample(1)
    assert copy.fingerprint == shards.fingerprint


def test_open_files_stay_few(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "_OPEN_TARS", 3)
    shards = shard_set(tmp_path, [1] * 8)
    before = len(os.listdir("/proc/self/fd"))
    for i in [*range(8), *range(8)]:
        assert shards.read(i) == sample(i)
    assert len(os.listdir("/proc/self/fd")) <= before + 2 * 3  # a tar and a mapped index each


def test_index_json_says_everything_a_stranger_needs(tmp_path):
    shard_set(tmp_path, [2])
    meta = read_json(tmp_path / "index.json")
    assert meta["format"] == "cirn-shards/1"
    assert meta["label_space"]["classes"][8] == "car"
    assert meta["shards"][0]["samples"] == 2
    assert len(meta["shards"][0]["sha256"]) == 64


keys = st.text("abcXYZ019_-/é", min_size=1, max_size=120).filter(lambda key: key.strip("/") == key and "//" not in key)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(keys, st.binary(max_size=1100)), min_size=1, max_size=5, unique_by=lambda one: one[0]), st.data()
)
def test_any_keys_and_any_bytes_come_back(samples, data):
    written = [(key, {**sample(number, 3, 2), "json": extra}) for number, (key, extra) in enumerate(samples)]
    cut = data.draw(st.integers(0, len(written)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for stem, part in (("a", written[:cut]), ("b", written[cut:])):
            write_shard(path, stem, part)
        shards = finish(path, ["a", "b"], name="any", label_space=None)
        assert [(shards.key(i), shards.read(i)) for i in range(len(shards))] == written
