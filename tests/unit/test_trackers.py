"""Trackers show the numbers and pictures of metrics.jsonl's stages, once each after a resume, or refuse clearly."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stagerun import stage_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cirn_dist.config.schema import Config
from cirn_dist.data.decode import open_image
from cirn_dist.display.trackers import Trackers, require
from cirn_dist.engine.meter import Meter
from cirn_dist.engine.step import StepResult
from cirn_dist.errors import ConfigError
from cirn_dist.rundir.metrics import metrics, read_metrics
from cirn_dist.start import start


def picture(value: int) -> Image.Image:
    return Image.fromarray(np.full((6, 9, 3), (value, 10, 200), np.uint8))


def test_tensorboard_holds_what_was_written_and_a_resumed_stage_says_it_once(tmp_path: Path) -> None:
    run = stage_run(tmp_path, "engine.trackers=[tensorboard]")
    for first, last, loss in ((0, 4, 1.0), (2, 5, 2.0)):  # the second start repeats what came after step 2
        with Meter(run, "source", first) as meter:
            for step in range(first + 1, last + 1):
                meter.add(step, StepResult({"seg": loss * step}, {"d": math.nan}), {"segmenter": 0.1 * step}, 0.0)
            run.trackers.image("panel", 4 * last, picture(50 * first))
    read = EventAccumulator(str(tmp_path / "source/tensorboard"))
    read.Reload()
    logged = read_metrics(tmp_path / "source/metrics.jsonl")
    assert [line.iteration for line in logged] == [4, 8, 12, 16, 20]
    seg = read.Scalars("losses/seg")
    assert [(event.step, event.value) for event in seg] == [(m.iteration, m.losses["seg"]) for m in logged]
    assert [event.value for event in seg] == [1, 2, 6, 8, 10]
    assert all(math.isnan(event.value) for event in read.Scalars("observed/d"))
    assert read.Scalars("rates/segmenter")[-1].value == pytest.approx(0.5)
    shown = read.Images("panel")
    assert [event.step for event in shown] == [20]
    assert np.array_equal(np.asarray(open_image(shown[0].encoded_image_string)), np.asarray(picture(100)))


def test_wandb_is_one_run_with_a_section_per_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []

    class FakeRun:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: calls.append((name, (args, kwargs)))

    def init(**kwargs: Any) -> FakeRun:
        calls.append(("init", kwargs))
        return FakeRun()

    fake = SimpleNamespace(
        init=init, Image=lambda image: ("image", image.size), __spec__=SimpleNamespace(origin="wandb")
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for _ in range(2):  # the same folder, two processes after one another
        boards = Trackers(["wandb"], tmp_path, "mine")
        for stage in ("source", "translate"):
            boards.start(stage)
            boards.write(metrics(1, 4, 2.5, {"seg": 1.5}))
            boards.image("panel", 4, picture(0))
            boards.finish()
    begun = [made for name, made in calls if name == "init"]
    assert len({made["id"] for made in begun}) == 1, "one run"
    assert all((made["name"], made["project"], made["resume"]) == ("mine", "cirn-dist", "allow") for made in begun)
    logged = [args[0] for name, (args, _) in ((n, c) for n, c in calls if n == "log")]
    assert logged[0] == {"source/losses/seg": 1.5, "source/images_per_second": 2.5, "source/iteration": 4}
    assert logged[3] == {"translate/panel": ("image", (9, 6)), "translate/iteration": 4}
    assert ("define_metric", (("translate/*",), {"step_metric": "translate/iteration"})) in calls
    assert [name for name, _ in calls].count("finish") == 4


def test_a_board_that_is_not_installed_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"wandb is asked for but not installed; pip install 'cirn-dist\[wandb\]'"):
        require(["tensorboard", "wandb"])
    config: Config = stage_run(tmp_path / "x", "engine.trackers=[wandb]").config
    with pytest.raises(SystemExit) as left:
        start(config, tmp_path / "run")
    assert left.value.code == 2
    assert "engine.trackers: wandb is asked for" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_boards_nothing_is_imported_or_written(tmp_path: Path) -> None:
    boards = Trackers((), tmp_path, "mine")
    boards.start("source")
    boards.write(metrics(1, 4, 2.5, {}))
    boards.finish()
    assert list(tmp_path.iterdir()) == []
