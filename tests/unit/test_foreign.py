from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image
from rawdata import jpeg, labels, picture, sample, shard_set

from cirn_dist.data.decode import encode_label
from cirn_dist.data.loading.stream import Plan, Stream, loader
from cirn_dist.data.loading.transforms import SegmentationTransform, decode_label
from cirn_dist.data.shards.foreign import index_foreign
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.errors import ConfigError, DataError


def theirs(folder: Path, count: int = 7, shard: int = 3, values: list[int] | None = None) -> Path:
    """Tars as webdataset's own ShardWriter makes them."""
    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(folder / "x-%04d.tar"), maxcount=shard, verbose=0) as writer:
        for number in range(count):
            label = encode_label(labels(number, values or [0, 3, 10, 255]))
            image = Image.fromarray(picture(number))
            writer.write({"__key__": f"set/{number:04d}", "jpg": image, "seg.png": label, "cls": number})
    return folder


def tar(path: Path, members: list[tuple[str, bytes] | tarfile.TarInfo]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            file.addfile(info, io.BytesIO(member[1]))
    return path.parent


def test_our_tars_are_read_by_webdataset(tmp_path):
    shards = shard_set(tmp_path, [3, 2])
    urls = [str(tmp_path / shard["name"]) for shard in shards.shards]
    read = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [one["__key__"] for one in read] == [shards.key(i) for i in range(5)]
    for i, one in enumerate(read):
        assert {field: one[field] for field in shards.fields} == sample(i)
    decoded = next(iter(webdataset.WebDataset(urls, shardshuffle=False).decode("pil")))
    np.testing.assert_array_equal(np.asarray(decoded["image.png"]), picture(0))


def test_tars_of_webdataset_are_indexed_and_train(tmp_path):
    folder = theirs(tmp_path / "t")
    before = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
    seen = []
    shards = index_foreign(
        folder, label="seg.png", space="camvid11", progress=lambda done, total: seen.append((done, total))
    )
    assert {path.name: path.read_bytes() for path in folder.glob("*.tar")} == before
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (len(shards), shards.shard_sizes, shards.fields) == (7, [3, 3, 1], ("image.jpg", "label.png"))
    assert [shards.key(i) for i in range(7)] == [f"set/{number:04d}" for number in range(7)]
    np.testing.assert_array_equal(decode_label(shards.read(4)["label.png"]), labels(4, [0, 3, 10, 255]))
    counted = sum(np.bincount(labels(number, [0, 3, 10, 255]).ravel(), minlength=256) for number in range(7))
    assert shards.meta["class_pixels"] == counted[:11].tolist()
    stream = Stream(shards, SegmentationTransform(mirror=True), seed=0, name="source")
    batches = list(loader({"source": stream}, Plan(2), first_step=0, last_step=5))
    assert len(batches) == 10
    assert index_foreign(folder).fingerprint == shards.fingerprint  # again: the fields keep their roles
    assert index_foreign(folder, label="seg.png", space="camvid11", workers=2).fingerprint == shards.fingerprint


def test_a_tar_replaced_after_indexing_is_noticed_and_may_be_indexed_again(tmp_path):
    folder = theirs(tmp_path / "t")
    index_foreign(folder, label="seg.png", space="camvid11")
    shutil.copy(folder / "x-0002.tar", folder / "x-0001.tar")
    with pytest.raises(DataError, match=r"x-0001\.tar: .*replaced after indexing.*index the set again"):
        ShardSet.open(folder)
    assert index_foreign(folder).shard_sizes == [3, 1, 1]


def test_fields_are_found_or_asked_for(tmp_path):
    folder = theirs(tmp_path / "t")
    with pytest.raises(ConfigError, match=r"cannot tell the image field \(candidates: jpg, seg\.png\)"):
        index_foreign(folder)
    with pytest.raises(ConfigError, match=r"no field 'png'; one of: cls, jpg, seg\.png"):
        index_foreign(folder, image="png")
    with pytest.raises(ConfigError, match="field 'cls' is no image"):
        index_foreign(folder, image="cls")
    with pytest.raises(ConfigError, match="labels need a label space"):
        index_foreign(folder, label="seg.png")
    assert index_foreign(folder, image="jpg").fields == ("image.jpg",)


def test_labels_of_another_space_are_refused_by_name(tmp_path):
    folder = theirs(tmp_path / "t", values=[0, 18])
    with pytest.raises(DataError, match=r"x-0000\.tar \[set/0000\]: train id 18 is not in camvid11"):
        index_foreign(folder, label="seg.png", space="camvid11")
    assert not (folder / "index.json").exists()


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tar"])
def test_compressed_tars_are_refused_whatever_their_name(tmp_path, name):
    folder = theirs(tmp_path / "t", 2)
    plain = folder / "x-0000.tar"
    (folder / name).write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    with pytest.raises(DataError, match=rf"{name}: .*compressed"):
        index_foreign(folder, image="jpg")


IMAGE, OTHER = jpeg(picture(1)), jpeg(picture(2))


def link(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("b.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.jpg", IMAGE), ("b.jpg", OTHER), ("a.jpg", OTHER)], r"\[a\]: the key occurs twice"),
        ([("a.jpg", IMAGE), ("b.jpg", OTHER), ("a.txt", b"x")], r"\[a\]: the key occurs twice, or its members are not"),
        ([("a.jpg", IMAGE), ("a.jpg", OTHER)], r"\[a\]: the field jpg occurs twice"),
        ([("a.jpg", IMAGE), ("a.txt", b"x"), ("b.jpg", OTHER)], r"\[b\]: missing fields: txt"),
        ([("../a.jpg", IMAGE)], r"\[\.\./a\.jpg\]: the member's name leaves the folder"),
        ([("x/../../a.jpg", IMAGE)], "leaves the folder"),
        ([("/etc/a.jpg", IMAGE)], "leaves the folder"),
        ([("a.jpg", IMAGE), link(tarfile.SYMTYPE)], r"\[b\.jpg\]: the member is a link"),
        ([("a.jpg", IMAGE), link(tarfile.LNKTYPE)], r"\[b\.jpg\]: the member is a link"),
        ([("a.jpg", IMAGE), link(tarfile.FIFOTYPE)], "link or a device"),
        ([("README", b"x")], r"\[README\]: the member's name is not KEY\.FIELD"),
        ([("dir/.hidden", b"x")], r"not KEY\.FIELD"),
    ],
)
def test_tars_that_cannot_be_trusted_are_refused_with_the_reason(tmp_path, members, reason):
    folder = tar(tmp_path / "t/x.tar", members)
    with pytest.raises(DataError, match=rf"x\.tar.*{reason}"):
        index_foreign(folder, image="jpg")
    assert not (folder / "index.json").exists()


def test_shards_with_other_fields_are_refused(tmp_path):
    tar(tmp_path / "t/a.tar", [("a.jpg", IMAGE)])
    folder = tar(tmp_path / "t/b.tar", [("b.png", IMAGE)])
    with pytest.raises(DataError, match=r"b\.tar: missing fields: jpg"):
        index_foreign(folder)


def test_folders_and_dotted_names_inside_a_tar_are_fine(tmp_path):
    folder_entry = tarfile.TarInfo("./set")
    folder_entry.type = tarfile.DIRTYPE
    folder = tar(tmp_path / "t/x.tar", [folder_entry, ("./set/a.jpg", IMAGE), ("./set/" + "b" * 150 + ".jpg", OTHER)])
    shards = index_foreign(folder)
    assert [shards.key(0), shards.key(1)] == ["set/a", "set/" + "b" * 150]
    assert shards.read(1) == {"image.jpg": OTHER}


@pytest.mark.parametrize("left", [0, 100, 512, 700, -1024, -10240 + 512])
def test_truncated_tars_are_refused(tmp_path, left):
    folder = tar(tmp_path / "t/x.tar", [("a.jpg", IMAGE), ("b.jpg", OTHER)])
    path = folder / "x.tar"
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    path.write_bytes(whole[: left if left >= 0 else min(len(whole) + left, -(-end // 512) * 512 + 512)])
    with pytest.raises(DataError, match=r"x\.tar.*(truncated|not a readable tar)"):
        index_foreign(folder)


def test_an_image_that_cannot_be_decoded_is_left_to_verify_and_training(tmp_path):
    good = [(f"a{number}.jpg", IMAGE) for number in range(18)]
    folder = tar(tmp_path / "t/x.tar", [*good, ("b.jpg", b""), ("c.jpg", jpeg(picture(1), "CMYK"))])
    shards = index_foreign(folder)
    assert len(shards) == 20
    assert shards.meta["made"]["unreadable"] == 2


def test_a_folder_without_tars_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path}: no tars there"):
        index_foreign(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        index_foreign(tmp_path / "x")
