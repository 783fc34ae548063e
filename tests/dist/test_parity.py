"""One rank or two: the same samples, the same weights, the same CIR, the same scores (frozen norm layers)."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import DOUBLE, MINI, Command
from launching import FAULTY, launch
from runs import COMPONENTS, IN_DOUBLE, assert_close

from cirn_dist.checkpoint.store import Store, Tensors
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.rundir.translation import read_quality

@pytest.fixture(scope="module")
def on_two_ranks(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "mini"
    done = launch(2, "run", mini, DOUBLE, "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("stage", COMPONENTS)
def test_two_ranks_train_what_one_trains(stage: str, finished_in_double: Path, on_two_ranks: Path) -> None:
    for component in COMPONENTS[stage]:
        assert_close(finished_in_double, on_two_ranks, stage, component, within=IN_DOUBLE)


@pytest.mark.slow
def test_two_ranks_render_the_same_cir(finished_run: Path, on_two_ranks: Path) -> None:
    one, two = (ShardSet.open(run / "render/shards") for run in (finished_run, on_two_ranks))
    assert [shard["name"] for shard in one.shards] == [shard["name"] for shard in two.shards]
    assert len(one.shards) > 1, "both ranks had a shard to write"
    assert [one.key(i) for i in range(len(one))] == [two.key(i) for i in range(len(two))]


@pytest.mark.slow
def test_two_ranks_render_one_ranks_bytes(finished_run: Path, mini: Path, tmp_path: Path) -> None:
    """From the same generator the shard sets are one: tars, indexes, index.json, and the figures of their quality."""
    out = tmp_path / "run"
    shutil.copytree(finished_run, out)
    shutil.rmtree(out / "render")
    done = launch(2, "run", mini, "--out", out, "--until", "cir", script=FAULTY, LATE=1)
    assert done.returncode == 0, done.stderr[-3000:]
    before, after = (
        {path.name: path.read_bytes() for path in (run / "render/shards").iterdir()} for run in (finished_run, out)
    )
    assert sum(name.endswith(".tar") for name in before) > 1, "both ranks had a shard to write"
    assert before == after
    one, two = (read_quality(run) for run in (finished_run, out))
    assert one is not None
    assert two is not None
    assert one.cir == two.cir == ShardSet.open(out / "render/shards").fingerprint
    assert (two.images, two.same_class, two.colour, two.miou) == (one.images, one.same_class, one.colour, one.miou)
    assert two.features.cir == pytest.approx(one.features.cir, rel=1e-5)
    assert two.cycle_l1 == pytest.approx(one.cycle_l1, rel=1e-5)


@pytest.mark.slow
def test_a_shard_dealt_in_pieces_has_one_ranks_bytes(cirn_dist: Command, tmp_path: Path) -> None:
    """Sets of one shard each: two ranks make their pieces, are killed among them, and put the same shards together."""
    config, one, two = tmp_path / "config.yaml", tmp_path / "one", tmp_path / "two"
    data = MINI["data"] | {"shard_mb": 128}
    data["source"] = {"size": [48, 40], "options": {"appearance": "synthetic", "count": 41}}
    data["target"] = MINI["data"]["target"] | {"options": {"appearance": "photo", "count": 25}}
    config.write_text(yaml.safe_dump(MINI | {"data": data}), encoding="utf-8")
    alone = cirn_dist("run", config, "--out", one, "--until", "pseudo_label")
    assert alone.returncode == 0, alone.stderr
    shutil.copytree(one, two)
    for stage in ("render", "pseudo_label"):
        shards, first_of_rank_1 = two / stage / "shards", "8-16.tar"
        shutil.rmtree(two / stage)
        arguments = ("run", config, "--out", two, "--until", stage)
        killed = launch(2, *arguments, script=FAULTY, KILL_AT_TAR="1:1")
        assert killed.returncode != 0
        assert (shards / "pieces" / first_of_rank_1).is_file(), "what it had made before"
        assert not list(shards.glob("*.tar"))
        done = launch(2, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        assert files_of(shards) == files_of(one / stage / "shards")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_ranks_score_the_same(finished_in_double: Path, on_two_ranks: Path) -> None:
    one, two = (json.loads((run / "results.json").read_text())["rows"] for run in (finished_in_double, on_two_ranks))
    for before, after in zip(one, two, strict=True):
        assert after["miou"] == pytest.approx(before["miou"], abs=IN_DOUBLE)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["translate", "adapt"])
def test_a_run_goes_on_with_another_number_of_ranks(
    stage: str, finished_in_double: Path, on_two_ranks: Path, mini: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    """Two ranks to step 2, one from there to the end of the stage: what one rank trains, image pool included.

    The stages after it were trained on what two ranks' last step gave, which is gone: the run ends with this one.
    """
    out = tmp_path / "run"
    shutil.copytree(on_two_ranks, out)
    shutil.rmtree(out / stage / "checkpoints/step-00000003")
    halfway = Store(out / stage / "checkpoints").latest()
    assert halfway is not None
    assert (halfway.state["step"], halfway.state["world"], halfway.state["finished"]) == (2, 2, False)
    done = cirn_dist("run", mini, DOUBLE, "--out", out, "--until", stage)
    assert done.returncode == 0, done.stderr
    for component in COMPONENTS[stage]:
        assert_close(finished_in_double, out, stage, component, within=IN_DOUBLE)
    if stage == "translate":
        last = Store(out / stage / "checkpoints").latest()
        assert last is not None
        assert_pools_went_on(halfway.read("memory"), last.read("memory"))
        assert_close(finished_in_double, out, stage, "memory", within=IN_DOUBLE)


def assert_pools_went_on(halfway: Tensors, last: Tensors) -> None:
    """Both pools were full at the stop, and the step after it exchanged some of their images and kept others."""
    assert halfway.keys() == last.keys()
    depth = math.ceil(MINI["translate"]["pool"] / MINI["engine"]["images_per_step"])
    assert len(halfway) == 2 * MINI["engine"]["images_per_step"] * depth
    for domain in ("source", "target"):
        kept = [torch.equal(image, last[key]) for key, image in halfway.items() if key.startswith(domain)]
        assert True in kept
        assert False in kept


def test_a_world_that_does_not_divide_the_batch_is_refused(mini: Path, tmp_path: Path) -> None:
    assert MINI["engine"]["images_per_step"] == 4
    refused = launch(3, "run", mini, "--out", tmp_path / "run", launcher="torchrun")
    assert refused.returncode != 0
    assert "worlds that do: 1, 2, 4" in refused.stderr
