"""`engine.compile`: networks compiled by torch train as they do otherwise, alone and on ranks with synced norms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import DOUBLE, Command
from launching import launch
from runs import IN_DOUBLE, assert_close, weights

from cirn_dist.config.load import load
from cirn_dist.errors import ConfigError

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
COMPILED = "engine.compile=default"


def losses(run: Path, stage: str) -> list[dict[str, float]]:
    return [json.loads(line)["losses"] for line in (run / stage / "metrics.jsonl").read_text().splitlines()]


def assert_compiled_is_the_same(eager: Path, compiled: Path, stages: dict[str, str]) -> None:
    for stage, component in stages.items():
        assert_close(eager, compiled, stage, component, within=IN_DOUBLE)
        for expected, found in zip(losses(eager, stage), losses(compiled, stage), strict=True):
            assert found == pytest.approx(expected, rel=1e-8)
        assert weights(eager, (stage,)) != weights(compiled, (stage,)), "the last bit is another's: it was compiled"


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_compiled_run_is_the_same_to_rounding(
    finished_in_double: Path, mini: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    done = cirn_dist("run", mini, COMPILED, DOUBLE, "--out", tmp_path / "run", "--until", "adapt")
    assert done.returncode == 0, done.stderr
    stages = {"source": "segmenter", "translate": "generator_s2t", "cir": "segmenter", "adapt": "discriminator"}
    assert_compiled_is_the_same(finished_in_double, tmp_path / "run", stages)


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_with_synced_statistics(mini: Path, tmp_path: Path) -> None:
    for name, setting in (("eager", "engine.compile=null"), ("compiled", COMPILED)):
        done = launch(2, "run", mini, setting, DOUBLE, "model.norm=sync", "--until", "source", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr[-3000:]
    assert_compiled_is_the_same(tmp_path / "eager", tmp_path / "compiled", {"source": "segmenter"})


@pytest.mark.parametrize("backend", ["exact", "deepspeed"])
def test_it_is_for_ddp(backend: str) -> None:
    with pytest.raises(ConfigError, match=f"compile is for backend ddp: .* change backend {backend}"):
        load("demo", [COMPILED, f"engine.backend={backend}"])
