"""One rank or two: the same samples, the same weights, the same CIR, the same scores (frozen norm layers)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import MINI, Command
from launching import launch

from cirn_dist.checkpoint.store import Store
from cirn_dist.data.index import ShardSet

COMPONENTS = {
    "source": ["segmenter"],
    "translate": ["generator_s2t", "generator_t2s", "discriminator_s", "discriminator_t"],
    "adapt": ["segmenter", "discriminator"],
    "self_train": ["segmenter"],
}


@pytest.fixture(scope="module")
def on_two_ranks(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "mini"
    done = launch(2, "run", mini, "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("stage", COMPONENTS)
def test_two_ranks_train_what_one_trains(stage: str, finished_run: Path, on_two_ranks: Path) -> None:
    for component in COMPONENTS[stage]:
        one, two = (Store(run / stage / "checkpoints").latest() for run in (finished_run, on_two_ranks))
        assert one is not None
        assert two is not None
        assert two.state["world"] == 2
        expected, found = one.read(component), two.read(component)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            scale = tensor.double().abs().max().clamp_min(1e-6)
            worst = ((found[key].double() - tensor.double()).abs().max() / scale).item()
            assert worst < 1e-5, f"{stage}/{component}: {key} differs by {worst:.1e} of its largest value"


@pytest.mark.slow
def test_two_ranks_render_the_same_cir(finished_run: Path, on_two_ranks: Path) -> None:
    one, two = (ShardSet.open(run / "render/shards") for run in (finished_run, on_two_ranks))
    assert [shard["name"] for shard in one.shards] == [shard["name"] for shard in two.shards]
    assert len(one.shards) > 1, "both ranks had a shard to write"
    assert [one.key(i) for i in range(len(one))] == [two.key(i) for i in range(len(two))]


@pytest.mark.slow
def test_two_ranks_score_the_same(finished_run: Path, on_two_ranks: Path) -> None:
    one, two = (json.loads((run / "results.json").read_text())["rows"] for run in (finished_run, on_two_ranks))
    for before, after in zip(one, two, strict=True):
        assert after["miou"] == pytest.approx(before["miou"], abs=2e-3)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(
    finished_run: Path, mini: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    """Two ranks are stopped after the first step of translation; one goes on; the weights are the undisturbed run's."""
    out = tmp_path / "run"
    for name in ("data", "source", "source_control"):
        shutil.copytree(finished_run / name, out / name)
    (out / "STOP").touch()
    stopped = launch(2, "run", mini, "--out", out, launcher="torchrun")
    assert stopped.returncode == 0, stopped.stderr[-3000:]
    assert "translate: stopped at iteration 4 and saved" in stopped.stderr
    (out / "STOP").unlink()
    done = cirn_dist("run", mini, "--out", out)
    assert done.returncode == 0, done.stderr
    one, other = (Store(run / "translate/checkpoints").latest() for run in (finished_run, out))
    assert one is not None
    assert other is not None
    for component in COMPONENTS["translate"]:
        expected, found = one.read(component), other.read(component)
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-5, atol=1e-6)


def test_a_world_that_does_not_divide_the_batch_is_refused(mini: Path, tmp_path: Path) -> None:
    assert MINI["engine"]["images_per_step"] == 4
    refused = launch(3, "run", mini, "--out", tmp_path / "run", launcher="torchrun")
    assert refused.returncode != 0
    assert "worlds that do: 1, 2, 4" in refused.stderr
