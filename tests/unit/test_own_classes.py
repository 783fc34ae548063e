"""Classes of one's own: from the raw folder to scores and report; in checkpoints; refused where they clash."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from owndata import CLASSES, SPACE, folder, recipe, tiny
from PIL import Image
from stagerun import stage_run
from torch import nn

from cirn_dist.checkpoint.store import Store
from cirn_dist.config.load import load
from cirn_dist.config.schema import Config
from cirn_dist.data.labels import label_space
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.pack.recipes import load_recipe
from cirn_dist.data.run_sets.label_space import run_space, setting, settled
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.backends import build_player
from cirn_dist.engine.saving import Saver
from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.measure.footprint import footprints
from cirn_dist.models.imported import import_file
from cirn_dist.rundir.results import read_results
from cirn_dist.stages.images import relabelling
from cirn_dist.stages.segmenter import build_segmenter, initial_segmenter


def test_three_classes_of_ones_own_from_the_raw_folder_to_scores_and_report(tmp_path: Path, cirn_dist: Command) -> None:
    config, out = tiny(tmp_path), tmp_path / "run"
    done = cirn_dist("run", config, "--out", out)
    assert done.returncode == 0, done.stderr
    results = read_results(out)
    assert results.classes == CLASSES
    counts = np.zeros((3, 3), np.int64)
    for panel in (out / "panels").glob("[0-9]*"):  # all four scored images: packed at their own size
        truth, seen = (np.asarray(Image.open(panel / f"{name}.png")) for name in ("label", "self_train"))
        assert set(np.unique(truth)) == {0, 1, 2, 255}
        np.add.at(counts, (truth[truth != 255], seen[truth != 255]), 1)
    assert counts.sum() == 4 * 64 * 45
    hits = np.diag(counts)
    iou = hits / (counts.sum(0) + counts.sum(1) - hits)
    np.testing.assert_allclose(results.rows[-1].iou, iou, atol=1e-12)
    newest = Store(out / "self_train/checkpoints").latest()
    assert newest.read("segmenter")["classifier.branches.0.weight"].shape[0] == 3
    assert newest.state["classes"] == list(CLASSES)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(f">{name}<" in page for name in CLASSES)
    assert "pole" not in page
    again = cirn_dist("run", config, "--out", out, f"data.label_space={SPACE}")
    assert again.returncode == 0, f"the same classes, written out: {again.stderr}"
    assert "done before" in again.stdout
    other = cirn_dist("run", config, "--out", out, f"data.label_space={SPACE.replace('sky', 'air')}")
    assert other.returncode == 2
    assert "data.label_space.classes was" in other.stderr


@pytest.mark.parametrize("given", ["null", SPACE, "{path}"], ids=["the source's", "a mapping", "a recipe"])
def test_a_run_is_on_the_same_classes_however_they_are_named(given: str, tmp_path: Path) -> None:
    config = load(str(tiny(tmp_path)), [f"data.label_space={given.replace('{path}', str(tmp_path / 'mine.yaml'))}"])
    space = run_space(config.data)
    assert (space.name, space.classes, space.palette[2]) == ("mine3", CLASSES, (0, 0, 142))
    written = settled(config)
    (tmp_path / "mine.yaml").unlink()
    assert run_space(written.data) == space, "nothing else is needed once it is written out"
    assert Config.model_validate(written.model_dump(mode="json")) == written


def test_known_spaces_are_named_by_themselves_by_a_recipe_or_by_the_source() -> None:
    for overrides in (["data.label_space=cityscapes19"], ["data.label_space=gta5"], ["data.label_space=null"]):
        config = settled(load("gta5_cityscapes", overrides))
        assert config.data.label_space == "cityscapes19"
    sixteen = ["data.label_space=null", "data.source.options.label_space=synthia16"]
    assert settled(load("synthia_cityscapes", sixteen)).data.label_space == "synthia16"
    assert setting(label_space("synthia16")) == "synthia16"


def test_a_packed_source_gives_its_classes(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    pack(tmp_path / "mine.yaml", tmp_path / "source", tmp_path / "packed")
    (tmp_path / "mine.yaml").write_text("name: mine\nsplits: {train: {}}\n")
    overrides = [f"data.source.raw={tmp_path / 'packed'}"]
    assert run_space(load(str(config), overrides).data).classes == CLASSES
    with pytest.raises(ConfigError, match="mine: does not say which classes its labels hold; name a label space"):
        run_space(load(str(config)).data)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (SPACE.replace("[0, 0, 142]", "[0, 0, 300]"), r"palette.2.2: .*less than or equal to 255 \(got 300\)"),
        (SPACE.replace(", [0, 0, 142]", ""), "2 palette colours for 3 classes"),
        (SPACE.replace("[0, 0, 142]", "[70, 130, 180]"), r"the colour \(70, 130, 180\) is there twice"),
        (SPACE.replace("vehicle", "sky"), "the class 'sky' is there twice"),
        (SPACE.replace("sky", "ignore"), "no class can be called 'ignore'"),
        (SPACE.replace("ground, sky, vehicle", ""), "classes: .*at least 1 item"),
        (SPACE.replace("}", ", subsets: {both: [sky, car]}}"), "subset 'both' has no class 'car'"),
        (SPACE.replace("}", ", colours: []}"), "colours: unknown key"),
        (SPACE.replace("mine3", "camvid11"), "camvid11 is the name of a known label space with 11 other classes"),
        ("{name: many, classes: [" + ", ".join(f"c{i}" for i in range(256)) + "], palette: []}", "at most 255 items"),
        ("[a, b]", "valid string"),
        ("mars", "unknown label space 'mars'; one of: cityscapes19, synthia16, camvid11; or a recipe"),
        ("mars.yaml", "mars.yaml: no such file"),
    ],
)
def test_classes_that_cannot_be_used_are_refused_in_one_line(space: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        settled(load("smoke", [f"data.label_space={space}"]))
    assert "\n" not in str(caught.value)
    assert "is not a" not in str(caught.value)


def test_a_folder_without_a_stated_space_asks_for_one(tmp_path: Path, cirn_dist: Command) -> None:
    raw = folder(tmp_path / "raw", 2)
    words = ("pack", "folder", "--raw", raw, "--workers", "1", "--out", tmp_path / "out")
    asked = cirn_dist(*words)
    assert asked.returncode == 2
    assert "does not say which classes its labels hold" in asked.stderr
    assert "--space" in asked.stderr
    assert not (tmp_path / "out").exists()
    assert cirn_dist(*words, "--no-labels").returncode == 0, "none are needed where no label is packed"
    mine = recipe(tmp_path / "mine.yaml")
    assert cirn_dist(*words[:-1], tmp_path / "mine3", "--space", mine).returncode == 0
    assert ShardSet.open(tmp_path / "mine3").label_space == load_recipe(mine).space
    assert cirn_dist(*words[:-1], tmp_path / "known", "--space", "camvid11").returncode == 0
    assert ShardSet.open(tmp_path / "known").label_space == label_space("camvid11")


def test_rendered_streets_are_of_their_own_classes_alone() -> None:
    with pytest.raises(ConfigError, match="streets are labelled as camvid11"):
        load_recipe("streets", {"label_space": "cityscapes19"})


def test_labels_of_a_known_space_are_translated_to_ones_own(tmp_path: Path) -> None:
    names = "{road: ground, sidewalk: ground, car: vehicle}"
    run = stage_run(tmp_path, f"data.label_space={SPACE}", f"data.source.map_labels={names}")
    packed = pack("streets", None, tmp_path / "packed", size=(48, 40), options={"count": 2})
    table = relabelling(run, packed, "source")
    theirs = label_space("camvid11").classes
    expected = {"road": 0, "sidewalk": 0, "sky": 1, "car": 2}
    assert table[:11].tolist() == [expected.get(name, 255) for name in theirs]


def test_the_memory_estimate_needs_no_data_for_classes_of_ones_own(tmp_path: Path) -> None:
    tiny(tmp_path)
    few = load(str(tmp_path / "tiny.yaml"), [f"data.source.raw={tmp_path / 'absent'}"])
    many = load(str(tmp_path / "tiny.yaml"), ["data.label_space=cityscapes19"])
    (own,), (known,) = (footprints(config, "fp32", only=("source",)) for config in (few, many))
    channels = build_segmenter(stage_run(tmp_path / "run"), with_acm=False).backbone.out_channels
    weights = 4 * (9 * channels + 1)  # of one class: in each of the four branches a 3x3 kernel and a bias
    assert known.parameters - own.parameters == 4 * (19 - 3) * weights


def trained(folder: Path, *overrides: str, **state: object) -> tuple[object, Path]:
    """Return a run on own classes, and its source stage's finished checkpoint with this in its state."""
    run = stage_run(folder, f"data.label_space={SPACE}", *overrides)
    segmenter = build_segmenter(run, with_acm=False)
    saved = run.store("source").save(
        1, {"segmenter": segmenter.state_dict()}, {"finished": True, "iteration": 0} | state
    )
    return run, saved.path


def test_checkpoints_remember_the_classes_and_others_are_refused(tmp_path: Path) -> None:
    run, _ = trained(tmp_path / "a", label_space="mine3", classes=list(CLASSES))
    assert run.finished("source").state["classes"] == list(CLASSES)
    run, _ = trained(tmp_path / "b", label_space="mine3")
    assert run.finished("source"), "older checkpoints know the name alone"
    run, path = trained(tmp_path / "c", label_space="mine3", classes=["sky", "ground", "vehicle"])
    told = r"was trained on mine3 \(sky, ground, vehicle\), this run is on mine3 \(ground, sky, vehicle\)"
    with pytest.raises(CheckpointError, match=told):
        initial_segmenter(run, "source", with_acm=True)
    with pytest.raises(CheckpointError, match=told):  # and a stage does not go on from such a checkpoint of its own
        Saver(run, "source", {}, {}, {}, {}).resume()
    weights = f"model.segmenter={path / 'segmenter.safetensors'}"
    with pytest.raises(CheckpointError, match=told):
        initial_segmenter(stage_run(tmp_path / "d", f"data.label_space={SPACE}", weights), "pretrained", with_acm=False)


def test_a_stage_writes_the_classes_it_is_trained_on(tmp_path: Path) -> None:
    run = stage_run(tmp_path, f"data.label_space={SPACE}")
    network = nn.Linear(1, 1)
    player = build_player("p", {"n": network}, lambda: _sgd(network), lambda _: 1.0, run.runtime)
    with Saver(run, "source", {"p": player}, {}, {}, {}) as saver:
        saver.resume()
        saver.save(1, finished=True, wait=True)
    state = json.loads((run.store("source").latest().path / "state.json").read_text())
    assert (state["label_space"], state["classes"]) == ("mine3", list(CLASSES))


def _sgd(network: nn.Module) -> object:
    from torch.optim import SGD

    return SGD(network.parameters(), lr=0.1)


def test_imported_weights_remember_the_classes(tmp_path: Path) -> None:
    run, path = trained(tmp_path / "a", label_space="mine3", classes=list(CLASSES))
    file = tmp_path / "mine.safetensors"
    found = import_file(path / "segmenter.safetensors", file, backbone="tiny", space=run.labels)
    assert found.label_space == "mine3"
    weights = f"model.segmenter={file}"
    same = stage_run(tmp_path / "b", f"data.label_space={SPACE}", weights)
    assert initial_segmenter(same, "pretrained", with_acm=False)
    swapped = SPACE.replace("ground, sky", "sky, ground")
    with pytest.raises(
        CheckpointError, match="its classes is ground, sky, vehicle, this run's is sky, ground, vehicle"
    ):
        initial_segmenter(
            stage_run(tmp_path / "c", f"data.label_space={swapped}", weights), "pretrained", with_acm=False
        )
