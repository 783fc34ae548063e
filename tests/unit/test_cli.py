"""What a user sees when something is wrong: one line that names it, an exit code, nothing half-made left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from cirn_dist import __version__
from cirn_dist.data.streets import render


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Return a folder of two training and one validation image in CamVid's form."""
    raw = tmp_path / "camvid"
    for split, names in (("train", ["0001TP_006690", "0001TP_006720"]), ("val", ["0016E5_07959"])):
        (raw / split).mkdir(parents=True)
        (raw / f"{split}annot").mkdir()
        for i, name in enumerate(names):
            image, label = render(1, i, 48, 40, "photo")
            Image.fromarray(image).save(raw / split / f"{name}.png")
            Image.fromarray(np.where(label == 255, 11, label).astype(np.uint8)).save(raw / f"{split}annot/{name}.png")
    return raw


def run(cirn_dist: Command, tmp_path: Path, raw: Path, *overrides: str) -> tuple[int, str, Path]:
    out = tmp_path / "run"
    tiny = ("data.source.options.count=2", "data.source.size=[48,40]", "data.target.size=[48,40]", "data.workers=0")
    done = cirn_dist("run", "streets_camvid", f"data.target.raw={raw}", *tiny, *overrides, "--out", out)
    return done.returncode, done.stderr, out


def assert_one_line(stderr: str, *parts: str) -> None:
    lines = [line for line in stderr.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1, stderr
    for part in parts:
        assert part in lines[0]


def test_a_missing_folder(cirn_dist: Command, tmp_path: Path) -> None:
    code, stderr, _ = run(cirn_dist, tmp_path, tmp_path / "absent")
    assert code == 1
    assert_one_line(stderr, "absent", "no such folder")


def test_an_empty_folder(cirn_dist: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, stderr, out = run(cirn_dist, tmp_path, tmp_path / "empty")
    assert code == 1
    assert_one_line(stderr, "empty", "no images of camvid")
    assert not out.exists(), "it is seen before anything is packed"


def test_an_unreadable_image(cirn_dist: Command, tmp_path: Path, camvid: Path) -> None:
    broken = camvid / "train/0001TP_006720.png"
    broken.write_bytes(broken.read_bytes()[:200])
    code, stderr, out = run(cirn_dist, tmp_path, camvid)
    assert code == 1
    assert_one_line(stderr, "0001TP_006720.png", "cannot be decoded")
    assert not (out / "data/target/index.json").exists()


def test_an_unknown_label_id(cirn_dist: Command, tmp_path: Path, camvid: Path) -> None:
    path = camvid / "valannot/0016E5_07959.png"
    label = np.array(Image.open(path))
    label[3, 4] = 77
    Image.fromarray(label).save(path)
    code, stderr, out = run(cirn_dist, tmp_path, camvid)
    assert code == 1
    assert_one_line(stderr, "0016E5_07959.png", "77")
    assert not (out / "data/scored/index.json").exists()


def test_a_configuration_for_another_label_space(cirn_dist: Command, tmp_path: Path, camvid: Path) -> None:
    code, stderr, _ = run(cirn_dist, tmp_path, camvid, "data.label_space=cityscapes19")
    assert code == 2
    assert_one_line(stderr, "camvid11", "data.label_space=cityscapes19")


def test_an_unknown_label_space_or_recipe(cirn_dist: Command, tmp_path: Path, camvid: Path) -> None:
    code, stderr, _ = run(cirn_dist, tmp_path, camvid, "data.label_space=mars")
    assert code == 2
    assert_one_line(stderr, "mars", "camvid11")
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    code, stderr, _ = run(cirn_dist, tmp_path, camvid, "data.target.recipe=mars")
    assert code == 2
    assert_one_line(stderr, "mars", "cityscapes")


def test_an_output_folder_that_cannot_be_written(cirn_dist: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = cirn_dist("demo", "--smoke", "--out", tmp_path / "file")
    assert done.returncode == 1
    assert_one_line(done.stderr, "file", "cannot be written")


def test_an_override_that_is_wrong(cirn_dist: Command, tmp_path: Path) -> None:
    done = cirn_dist("demo", "adapt.lambda_avd=1", "--out", tmp_path / "run")
    assert done.returncode == 2
    assert_one_line(done.stderr, "command line: adapt.lambda_avd: unknown key; did you mean lambda_adv?")
    assert not (tmp_path / "run").exists()


def test_backbone_weights_that_are_not_there(cirn_dist: Command, tmp_path: Path, camvid: Path) -> None:
    code, stderr, _ = run(
        cirn_dist, tmp_path, camvid, "model.backbone=resnet18", "model.weights=/nowhere/w.safetensors"
    )
    assert code != 0
    assert_one_line(stderr, "/nowhere/w.safetensors")


def test_shard_verbs_print_and_write_json(cirn_dist: Command, tmp_path: Path, camvid: Path) -> None:
    shards, report = tmp_path / "shards", tmp_path / "out.json"
    packed = cirn_dist("pack", "camvid", "--raw", camvid, "--out", shards, "--size", "48x40", "--json", report)
    assert packed.returncode == 0, packed.stderr
    assert json.loads(report.read_text())["samples"] == 2
    assert "camvid11" in cirn_dist("shards", "info", shards).stdout
    assert cirn_dist("shards", "verify", shards, "--workers", "1").returncode == 0
    tar = next(shards.glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    bad = cirn_dist("shards", "verify", shards, "--workers", "1", "--json", report)
    assert bad.returncode == 1
    assert json.loads(report.read_text())["bad"]
    assert cirn_dist("shards", "repair", shards, "--out", tmp_path / "repaired", "--workers", "1").returncode == 0
    assert cirn_dist("pack", "camvid", "--out", tmp_path / "x", "--size", "4by4").returncode == 2


def test_the_version(cirn_dist: Command) -> None:
    done = cirn_dist("--version")
    assert (done.returncode, done.stdout) == (0, f"cirn-dist {__version__}\n")


def test_a_result_file_that_cannot_be_written_is_refused_before_the_work(cirn_dist: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for file, said in ((tmp_path / "absent/x.json", "there is no such folder"), (tmp_path, "is a folder")):
        done = cirn_dist("run", "smoke", "--out", out, "--json", file)
        assert done.returncode != 0
        assert_one_line(done.stderr, said, "--json")
        assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("pack", "folder", "--space", "camvid11", "--out", "{out}", "--raw"),
        ("run", "smoke", "--out", "{out}", "data.source.recipe=gta5", "data.source.raw="),
        ("run", "smoke", "--out", "{out}", "model.weights="),
        ("run", "smoke", "--out"),
        ("run",),
        ("report",),
        ("show",),
        ("checkpoints", "list"),
        ("shards", "info"),
        ("shards", "verify"),
        ("import-weights",),
        ("tables",),
    ],
)
def test_a_file_the_system_refuses_is_named_in_one_line(
    words: tuple[str, ...], cirn_dist: Command, tmp_path: Path
) -> None:
    name = tmp_path / ("n" * 300)  # no file system takes it, whoever the user is
    *before, last = [word.replace("{out}", f"{tmp_path}/out") for word in words]
    given = [*before, f"{last}{name}"] if last.endswith("=") else [*before, last, name]
    done = cirn_dist(*given)
    assert done.returncode in (1, 2), done.stdout
    assert_one_line(done.stderr, str(name), "name too long")
