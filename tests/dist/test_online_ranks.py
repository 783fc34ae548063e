"""Online self-training on several ranks: the same bits as on one, teacher and draws included, and through a kill."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import needs_timm
from launching import FAULTY, finish, launch, own_command, start_launcher
from runs import assert_close, weights

STAGE = "self_train"
SETTINGS = (
    "with_cir=false", "with_adapt=false", "controls=false", "evaluate.adabn=false", "evaluate.panels=0",
    "source.iterations=4", "self_train.method=online", "self_train.init=pretrained", "self_train.source_weight=1",
    "self_train.iterations=24", "self_train.online.threshold=0.1", "self_train.online.mask_weight=0.5",
    "self_train.online.mask_block=8", "engine.checkpoint_every=8",
)  # fmt: skip
EXACT = ("engine.precision=fp32", "engine.backend=exact")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def walked(mini: Path, out: Path, ranks: int, *more: str, fault: str = "", code: int = 0) -> Path:
    arguments, given = ("run", mini, "--out", out, *SETTINGS, *more), {"FAULT": fault} if fault else {}
    if ranks == 1:
        command = own_command(*arguments, script=FAULTY)
        done = finish(start_launcher("accelerate.commands.launch", "--cpu", *command, **given))
    else:
        done = launch(ranks, *arguments, script=FAULTY, **given)
    assert (done.returncode == 0) == (code == 0), done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def alone(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return walked(mini, tmp_path_factory.mktemp("alone") / "run", 1, *EXACT)


@pytest.mark.parametrize(("ranks", "workers"), [(2, 2), (4, 0)])
def test_the_same_bits_on_any_number_of_ranks(
    ranks: int, workers: int, alone: Path, mini: Path, tmp_path: Path
) -> None:
    found = weights(walked(mini, tmp_path / "run", ranks, *EXACT, f"data.workers={workers}"), (STAGE,))
    assert found == weights(alone, (STAGE,))
    assert f"{STAGE}/teacher.safetensors" in found


@needs_timm
def test_what_a_transformer_drops_does_not_depend_on_the_ranks(mini: Path, tmp_path: Path) -> None:
    settings = (*EXACT, "model.backbone=timm:pvt_v2_b0", "model.weights=null", "model.head=daformer",
                "model.head_width=8", "model.dropout=0.3", "model.drop_path=0.3", "model.norm=frozen",
                "self_train.iterations=8", "source.iterations=4")  # fmt: skip
    one, two = (walked(mini, tmp_path / str(ranks), ranks, *settings) for ranks in (1, 2))
    assert weights(one, ("source", STAGE)) == weights(two, ("source", STAGE))
    whole = walked(mini, tmp_path / "whole", 1, *settings, "model.dropout=0", "model.drop_path=0")
    assert weights(whole, (STAGE,)) != weights(one, (STAGE,)), "nothing was dropped"


def test_a_killed_rank_loses_nothing(alone: Path, mini: Path, tmp_path: Path) -> None:
    out = walked(mini, tmp_path / "run", 2, *EXACT, fault="kill:1:4", code=1)
    assert not (out / "results.json").is_file() or weights(out, (STAGE,)) != weights(alone, (STAGE,))
    assert weights(walked(mini, out, 2, *EXACT), (STAGE,)) == weights(alone, (STAGE,))


@pytest.fixture(scope="module")
def on_ddp(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that runs the stage on two ranks, each from the same source."""
    folder = tmp_path_factory.mktemp("ddp")
    first = walked(mini, folder / "first", 2)

    def again(out: Path, *more: str) -> Path:
        shutil.copytree(first, out)
        shutil.rmtree(out / STAGE)
        return walked(mini, out, 2, *more)

    return again


def test_ddp_trains_what_exact_sums_train(alone: Path, on_ddp: Callable[..., Path], tmp_path: Path) -> None:
    found = on_ddp(tmp_path / "run")
    for component in ("segmenter", "teacher"):
        assert_close(alone, found, STAGE, component)


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_deepspeed_keeps_the_teacher_whole(alone: Path, on_ddp: Callable[..., Path], tmp_path: Path) -> None:
    found = on_ddp(tmp_path / "run", "engine.backend=deepspeed", "engine.zero_stage=2")
    for component in ("segmenter", "teacher"):
        assert_close(alone, found, STAGE, component)
