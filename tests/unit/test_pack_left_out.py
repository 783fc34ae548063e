"""Images that are left out for a label of another size: counted, named, and refused when they are many."""

from __future__ import annotations

import html
import shutil
from pathlib import Path

import pytest
from conftest import Command
from owndata import tiny
from rawdata import camvid, labels, save
from shardsets import contents

from cirn_dist.data.pack.pack import pack
from cirn_dist.data.shards.info import info, omissions
from cirn_dist.errors import DataError
from cirn_dist.report.html import write_report
from cirn_dist.rundir.sets import FILE_NAME as SETS
from cirn_dist.rundir.sets import read_sets


def spoilt(raw: Path, count: int, *bad: int) -> Path:
    camvid(raw, count)
    for number in bad:
        save(raw / f"trainannot/0001TP_{6690 + 30 * number:06d}.png", labels(0, [1, 2], 12, 8))
    return raw


def test_a_large_share_is_refused_with_count_share_first_and_reason(tmp_path):
    raw = spoilt(tmp_path / "raw", 7, 0, 1, 2, 4, 5, 6)
    reason = (
        r"out: left out: 6 of 7 images \(85.7 %\), first train/0001TP_\d+\.png: its label map is 12x8, the image 24x16;"
        r" more than 10 % may not be; put the labels right, or insist with the recipe's option max_left_out=0\.86"
    )
    with pytest.raises(DataError, match=reason):
        pack("camvid", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shards = pack("camvid", raw, tmp_path / "out", options={"max_left_out": 0.86})
    assert len(shards) == 1
    assert info(shards.path).omissions[0].startswith("left out: 6 of 7 images (85.7 %), first train/")
    assert len(pack("camvid", raw, tmp_path / "images", labels=False)) == 7, "without labels none has another size"


@pytest.mark.parametrize(("bad", "most", "packs"), [(1, 0.1, True), (2, 0.1, False), (2, 0.2, True), (1, 0, False)])
def test_the_share_is_of_all_images(bad, most, packs, tmp_path):
    raw = spoilt(tmp_path / "raw", 10, *range(bad))
    if packs:
        assert len(pack("camvid", raw, tmp_path / "out", options={"max_left_out": most})) == 10 - bad
    else:
        with pytest.raises(DataError, match=f"{bad} of 10 images"):
            pack("camvid", raw, tmp_path / "out", options={"max_left_out": most})


def test_a_large_set_is_refused_before_all_of_it_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr("cirn_dist.data.pack.pack._LOOK_EVERY", 4)
    done = []
    with pytest.raises(DataError, match=r"left out: 4 of 4 images \(100 %\)") as caught:
        pack(
            "camvid",
            spoilt(tmp_path / "raw", 20, *range(20)),
            tmp_path / "out",
            progress=lambda at, of: done.append(at),
        )
    assert "so far, of 20" in str(caught.value)
    assert max(done) < 20


def test_after_a_refusal_labels_that_were_put_right_are_read_again(tmp_path):
    raw, bad = tmp_path / "raw", range(0, 16, 2)
    spoilt(raw, 16, *bad)
    with pytest.raises(DataError, match="8 of 16"):
        pack("camvid", raw, tmp_path / "out", shard_mb=0.002)
    assert all(not record["left_out"] for record in map(read, (tmp_path / "out").glob("*.record.json")))
    camvid(raw, 16)
    mended = pack("camvid", raw, tmp_path / "out", shard_mb=0.002)
    assert contents(mended.path) == contents(pack("camvid", raw, tmp_path / "whole", shard_mb=0.002).path)


def test_insisting_goes_on_with_what_was_packed_and_says_so_the_same(tmp_path):
    raw = spoilt(tmp_path / "raw", 16, *range(0, 16, 2))
    with pytest.raises(DataError, match="8 of 16"):
        pack("camvid", raw, tmp_path / "out", shard_mb=0.002)
    insisted = pack("camvid", raw, tmp_path / "out", shard_mb=0.002, options={"max_left_out": 1})
    whole = pack("camvid", raw, tmp_path / "whole", shard_mb=0.002, options={"max_left_out": 0.5})
    assert contents(insisted.path) == contents(whole.path)
    assert pack("camvid", raw, tmp_path / "out", shard_mb=0.002).fingerprint == whole.fingerprint, "done is done"
    assert omissions(whole.meta)[0].startswith("left out: 8 of 16 images (50 %)")


def read(path: Path) -> dict:
    import json

    return json.loads(path.read_text())


def test_what_was_left_out_is_in_the_report(tmp_path: Path, cirn_dist: Command) -> None:
    """And stays there: from the run's own record of its sets, when their folders are gone."""
    config, out = tiny(tmp_path), tmp_path / "run"
    save(tmp_path / "source/train/labels/im003.png", labels(0, [1, 2], 12, 8))
    done = cirn_dist("run", config, "data.source.options.max_left_out=0.5", "--out", out, "--until", "source")
    assert done.returncode == 0, done.stderr
    left_out = next(line for line in done.stdout.splitlines() if "left out" in line)
    told = read_sets(out)[0]
    assert (told.role, told.classes) == ("source", "mine3")
    assert told.told[0] in left_out
    shutil.rmtree(out / "data")
    page = write_report(out).read_text(encoding="utf-8")
    assert html.escape(told.told[0]) in page
    (out / SETS).unlink()
    assert "left out" not in write_report(out).read_text(encoding="utf-8"), "a run of before has no such section"
