"""The verb pack, and packing inside a run: options, label space, and what is told of files that are not packed."""

from __future__ import annotations

import json
from pathlib import Path

import owndata
from conftest import Command
from rawdata import save


def test_what_is_not_packed_is_printed_by_pack_and_by_info_and_is_in_the_json(
    tmp_path: Path, cirn_dist: Command
) -> None:
    raw, out, report = owndata.folder(tmp_path / "raw", 4), tmp_path / "out", tmp_path / "r.json"
    save(raw / "train/images/x.gif", owndata.image(1))
    words = ("pack", "folder", "--raw", raw, "--space", "camvid11", "--workers", "1", "--json", report)
    packed = cirn_dist(*words, "--out", out, "--option", "count=3")
    assert packed.returncode == 0, packed.stderr
    said = "passed over: 1 .gif (not read as images)"
    assert said in packed.stderr, "told when packing begins"
    assert said in packed.stdout
    assert said in cirn_dist("shards", "info", out).stdout
    found = json.loads(report.read_text())
    assert (found["samples"], found["label_space"], found["omissions"]) == (3, "camvid11", [said])


def test_options_are_checked_before_packing(tmp_path: Path, cirn_dist: Command) -> None:
    raw = owndata.folder(tmp_path / "raw", 2)
    for words, reason in (
        (("--option", "cuont=2"), "cuont is no option of a recipe of files; did you mean count?"),
        (("--option", "count"), "--option count: not an option; write KEY=VALUE"),
        (("--option", "count=[1"), "--option count=[1: not YAML"),
        (("--space", "kitti"), "unknown label space"),
        ((), "does not say which classes its labels hold; name a label space: data.label_space in a run, --space"),
    ):
        refused = cirn_dist("pack", "folder", "--raw", raw, "--out", tmp_path / "out", *words)
        assert refused.returncode == 2
        assert reason in refused.stderr
        assert not (tmp_path / "out").exists()


def test_a_run_refuses_a_source_that_is_mostly_left_out_until_it_is_told_to_take_it(
    tmp_path: Path, cirn_dist: Command
) -> None:
    config, out = owndata.tiny(tmp_path), tmp_path / "run"
    for number in range(6):
        save(tmp_path / f"source/train/labels/im{number:03d}.png", owndata.label(number, 32, 24))
    refused = cirn_dist("run", config, "--out", out, "--until", "data")
    assert refused.returncode == 1
    assert "left out: 6 of 8 images (75 %), first train/images/im00" in refused.stderr
    assert "its label map is 32x24, the image 64x48" in refused.stderr
    insisted = cirn_dist("run", config, "--out", out, "--until", "data", "data.source.options.max_left_out=0.75")
    assert insisted.returncode == 0, insisted.stderr
    assert "6 of 8 images (75 %)" in cirn_dist("shards", "info", out / "data/source").stdout
