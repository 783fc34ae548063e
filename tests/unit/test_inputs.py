"""What a run reads is looked at before anything is written, and compared with what was packed before."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from owndata import folder, tiny
from PIL import Image
from rawdata import save
from safetensors.torch import save_file

from cirn_dist.config.load import load
from cirn_dist.data.run_sets.label_space import settled
from cirn_dist.errors import CirnError
from cirn_dist.inputs import check_inputs

# Each mistake: settings with {root} filled in, and what is said.
BAD: dict[str, tuple[list[str], str]] = {
    "source folder": (["data.source.raw={root}/nowhere"], "nowhere: no such folder; data.source.raw=FOLDER"),
    "no source folder": (["data.source.raw=null"], "data.source.raw: no folder is given for the images of mine"),
    "target folder": (["data.target.raw={root}/nowhere"], "nowhere: no such folder; data.target.raw=FOLDER"),
    "scored folder": (["data.target.score_raw={root}/nowhere"], "nowhere: no such folder"),
    "recipe": (["data.target.recipe=kamvid"], "kamvid: no such file"),
    "split": (["data.source.split=trian"], "mine: no split 'trian'"),
    "scored split": (["data.target.score_split=vall"], "mine: no split 'vall'"),
    "option": (["data.source.options.cuont=5"], "cuont is no option"),
    "count": (["data.source.options.count=9"], "count is 9, the split 'train' has 8 images"),
    "images": (["data.source.raw={root}/empty"], "empty: no images of mine's split 'train'"),
    "source labels": (["data.source.raw={root}/target"], "the images have no labels"),
    "scored labels": (["data.target.score_split=train"], "the images have no labels"),
    "label space": (["data.label_space=camvid11"], "mine: its labels are mine3, the run's classes are .*camvid11"),
    "class": (["data.label_space=camvid11", "data.source.map_labels={{ground: raod}}"], "camvid11 has no class 'raod'"),
    "thing": (
        ["self_train.method=online", "self_train.online.feature_distance.classes=[hosue]"],
        "feature_distance.classes: mine3 has no class 'hosue'",
    ),
    "rare class": (
        ["pseudo_label.easy_share=0.5", "pseudo_label.easy_rare=[ground, hosue]", "self_train.source_weight=0"],
        "pseudo_label.easy_rare: mine3 has no class 'hosue'",
    ),
    "network": (["model.weights={root}/none.safetensors"], "none.safetensors: no such weights file"),
    "other network": (["model.weights={root}/other.safetensors"], "other.safetensors"),
    "segmenter": (["model.segmenter={root}/none.safetensors"], "none.safetensors: no such weights file"),
    "damaged": (["model.segmenter={root}/bad.safetensors"], "bad.safetensors"),
    "ready-made": (["translate.method=shards", "translate.shards={root}/none"], "none: not a complete shard set"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    tiny(root)
    (root / "empty").mkdir()
    (root / "bad.safetensors").write_bytes(b"no weights")
    save_file({"conv.weight": torch.zeros(3)}, root / "other.safetensors")
    return root


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_input_is_refused_at_once(bad: str, root: Path, tmp_path: Path) -> None:
    overrides, told = BAD[bad]
    before, begun = set(root.rglob("*")), time.monotonic()
    with pytest.raises(CirnError, match=told) as caught:
        check_inputs(
            settled(load(str(root / "tiny.yaml"), [text.format(root=root) for text in overrides])), tmp_path / "run"
        )
    assert time.monotonic() - begun < 2
    assert "\n" not in str(caught.value)
    assert set(root.rglob("*")) == before
    assert not (tmp_path / "run").exists()


def test_good_inputs_pass(root: Path, tmp_path: Path) -> None:
    check_inputs(settled(load(str(root / "tiny.yaml"), [])), tmp_path)
    check_inputs(settled(load("smoke", [])), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", ["scored labels", "damaged", "class"])
def test_a_run_and_a_dry_run_check_the_same(bad: str, root: Path, tmp_path: Path, cirn_dist: Command) -> None:
    overrides = [text.format(root=root) for text in BAD[bad][0]]
    words = ("run", root / "tiny.yaml", "--out", tmp_path / "run", *overrides)
    dry, real = cirn_dist(*words, "--dry-run"), cirn_dist(*words)
    assert dry.returncode == real.returncode != 0
    assert dry.stderr == real.stderr != ""
    assert dry.stdout == ""
    assert not (tmp_path / "run").exists()


def _added(raw: Path) -> None:
    folder(raw, 10)


def _removed(raw: Path) -> None:
    for kind in ("images", "labels"):
        (raw / f"train/{kind}/im007.png").unlink()


def _replaced(raw: Path) -> None:
    save(raw / "train/labels/im002.png", np.zeros((48, 64), np.uint8))


CHANGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "added": (_added, "4 added (first train/images/im008.png)"),
    "removed": (_removed, "2 removed (first train/images/im007.png)"),
    "replaced": (_replaced, "1 of another size (first train/labels/im002.png)"),
}


@pytest.mark.parametrize("change", CHANGED)
@pytest.mark.parametrize("until", ["data", "source"])
def test_other_raw_files_than_were_packed_are_refused(
    change: str, until: str, tmp_path: Path, cirn_dist: Command
) -> None:
    words = ("run", tiny(tmp_path), "--out", tmp_path / "run", "--until", until)
    assert cirn_dist(*words).returncode == 0
    work, told = CHANGED[change]
    work(tmp_path / "source")
    done = cirn_dist(*words)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "cirn-dist:" in line]
    assert f"was packed from other files than {tmp_path / 'source'} has now: {told};" in line
    assert "remove" in line


def test_another_raw_folder_on_a_begun_run(tmp_path: Path, cirn_dist: Command) -> None:
    words = ("run", tiny(tmp_path), "--out", tmp_path / "run", "--until", "source")
    assert cirn_dist(*words).returncode == 0
    other = folder(tmp_path / "other", 20, size=(96, 80))
    done = cirn_dist(*words, f"data.source.raw={other}")
    assert done.returncode == 1
    assert "24 added (first train/images/im008.png), 16 of another size" in done.stderr
    assert f"name the folder it was packed from ({tmp_path / 'source'})" in done.stderr
    done = cirn_dist(*words, "data.source.raw=/not/there")
    assert done.returncode == 0, done.stderr
    assert f"packed before, from {tmp_path / 'source'}; /not/there is not there, and not looked at" in done.stderr
    moved = shutil.copytree(tmp_path / "source", tmp_path / "moved")
    done = cirn_dist(*words, f"data.source.raw={moved}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "the same files in another place are the same data"


def test_labels_of_the_target_may_go(tmp_path: Path, cirn_dist: Command) -> None:
    config = tiny(tmp_path)
    folder(tmp_path / "target", 8)
    words = ("run", config, "--out", tmp_path / "run", "--until", "data")
    assert cirn_dist(*words).returncode == 0
    shutil.rmtree(tmp_path / "target/train/labels")
    assert cirn_dist(*words).returncode == 0, "they were never read"


@pytest.mark.parametrize("classes", [2, 30])
def test_few_and_many_classes_from_the_raw_folder_on(classes: int, tmp_path: Path, cirn_dist: Command) -> None:
    """Labels are RGB images in the label space's own colours."""
    names = [f"thing {number}" for number in range(classes)]
    palette = [[8 * number, 255 - number, 3] for number in range(classes)]
    config = tiny(tmp_path, f"{{name: own, classes: {names}, palette: {palette}}}")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(recipe.read_text().replace('{1}.png"}', '{1}.png", encoding: colour}'))
    y, x = np.mgrid[:48, :64]
    for place, count in (("source/train", 8), ("target/val", 4)):
        for number in range(count):
            ids = (x // 8 + 8 * (y // 12) + number) % classes
            save(tmp_path / f"{place}/labels/im{number:03d}.png", np.array(palette, np.uint8)[ids])
    done = cirn_dist("run", config, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert all(f">{name}<" in page for name in names)
    for panel in (tmp_path / "run/panels").glob("[0-9]*"):
        truth = np.asarray(Image.open(panel / "label.png"))
        assert {int(value) for value in np.unique(truth)} == set(range(classes))
