"""Stage 1 seen while it trains: pictures at the right iterations, alarms for what is wrong and for nothing else."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stagerun import stage_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from cirn_dist.report.html import write_report
from cirn_dist.rundir.translation import ALARMS, PROGRESS, read_alarms
from cirn_dist.stages.translate.alarms import WINDOW, CollapseMonitor, Translations, spread

OPTIONS = (
    "translate.iterations=400",
    "translate.panel_every=100",
    "engine.log_every=8",
    "engine.trackers=[tensorboard]",
)


def made(step: int, translated: Any = None, size: int = 4) -> Translations:
    """One step's micro-batch, 4 images of 16x16 per domain; `translated` makes the translations from the images."""
    random = torch.Generator().manual_seed(step)
    source, target = (torch.rand(size, 3, 16, 16, generator=random) * 2 - 1 for _ in range(2))
    make = translated or (lambda x: x)
    return Translations(source, target, make(source), make(target), source, target)


def watched(
    folder: Path, steps: int, translated: Any = None, first: int = 0, trackers: str = ""
) -> list[dict[str, float]]:
    run = stage_run(folder, *OPTIONS, f"engine.trackers=[{trackers}]")
    run.trackers.start("translate", first * 4)
    monitor = CollapseMonitor(run)
    found = []
    for i in range(first, first + steps):
        spreads = monitor.observe(torch.arange(i * 4, i * 4 + 4), made(i, translated))
        found.append({name: float(value) for name, value in spreads.items()})
    run.trackers.finish()
    return found


def alarms(folder: Path) -> list[tuple[int, str]]:
    return [(alarm.iteration, alarm.kind) for alarm in read_alarms(folder)]


def test_spread_is_the_ratio_of_variances_over_images() -> None:
    random = np.random.default_rng(0)
    inputs = [random.normal(size=(3, 8, 8)).astype(np.float32) for _ in range(9)]
    outputs = [0.5 * one + 1 for one in inputs]
    found = float(spread(*(torch.from_numpy(np.stack(images)).unbind() for images in (inputs, outputs))))
    variance = [np.stack(images).astype(np.float64).var(axis=0).mean() for images in (inputs, outputs)]
    assert found == pytest.approx(variance[1] / variance[0], rel=1e-5)
    assert found == pytest.approx(0.25, rel=1e-5)


def test_pictures_are_drawn_at_the_first_the_last_and_every_nth_iteration(tmp_path: Path) -> None:
    watched(tmp_path, 100, lambda x: -x, trackers="tensorboard")
    names = sorted(path.stem for path in (tmp_path / PROGRESS).iterdir())
    assert names == [f"{i:08d}" for i in (4, 100, 200, 300, 400)]
    with Image.open(tmp_path / PROGRESS / "00000100.png") as picture:
        pixels = np.asarray(picture).astype(int)
    first = made(24)  # rows of source, its translation, itself again; 16 pixels drawn 320 wide
    for row, images in enumerate((first.real_s, first.real_t)):
        for column, sign in enumerate((1, -1, 1)):
            x, y = 6 + column * 326, row * (pixels.shape[0] // 2) + 30
            shown = pixels[y + 20 : y + 320 : 20, x + 10 : x + 320 : 20].mean()
            expected = ((sign * images[0].numpy() + 1) * 127.5).mean()
            assert shown == pytest.approx(expected, abs=12), (row, column)
    read = EventAccumulator(str(tmp_path / "translate/tensorboard"), size_guidance={"images": 0})
    read.Reload()
    assert [event.step for event in read.Images("translation")] == [4, 100, 200, 300, 400]
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "While it was trained" in page
    assert page.count("<img") == 4, "the first, the last and two between"


def test_a_healthy_translation_raises_no_alarm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = watched(tmp_path, 60, lambda x: 0.4 * x - 0.3)
    assert found[-1]["spread_s2t"] == pytest.approx(0.16, rel=1e-3)
    assert not caplog.records
    assert not (tmp_path / ALARMS).exists()


def test_a_collapsed_generator_is_told_once_and_is_in_the_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One answer for every image, but not before the window is full and the first steps are over."""
    answer = torch.rand(1, 3, 16, 16)
    with caplog.at_level(logging.WARNING):
        watched(tmp_path, 60, lambda x: answer.expand_as(x))
    due = 32  # WINDOW images are seen, a twentieth of 400 iterations is over, and a line is logged
    assert due >= WINDOW
    assert alarms(tmp_path) == [(due, "collapse s2t"), (due, "collapse t2s")]
    assert len(caplog.records) == 2
    assert "translate, iteration 32: the generator source to target answers different images alike" in caplog.text
    assert "it may have collapsed" in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_translation_that_is_not_finite_is_told_wherever_it_was(tmp_path: Path) -> None:
    def broken(x: Tensor) -> Tensor:
        spoiled = x.clone()
        if float(x[0, 0, 0, 0]) == float(made(2).real_s[0, 0, 0, 0]):  # the third step's, one pixel
            spoiled[0, 0, 5, 5] = float("nan")
        return spoiled

    watched(tmp_path, 60, broken)
    assert alarms(tmp_path) == [(16, "non-finite s2t")]
    # Started again before it, what comes after is another future.
    watched(tmp_path, 4, lambda x: x * float("inf"), first=1)
    assert alarms(tmp_path) == [(8, "non-finite s2t"), (8, "non-finite t2s")]


def test_a_resumed_monitor_logs_and_tells_what_an_undisturbed_one_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopped at any step: the same spreads from there on, and a collapse that was told is not told again."""
    answer = torch.rand(1, 3, 16, 16)
    with caplog.at_level(logging.WARNING):
        whole = watched(tmp_path / "whole", 14, lambda x: answer.expand_as(x))
    told = len(caplog.records)
    assert told == 2
    for stop in (3, 9, 12):  # before the window is full, just told, later
        caplog.clear()
        run = stage_run(tmp_path / f"stopped-{stop}", *OPTIONS)
        before, after = CollapseMonitor(run), CollapseMonitor(run)
        found = []
        with caplog.at_level(logging.WARNING):
            for step in range(14):
                if step == stop:
                    after.load({name: tensor.clone() for name, tensor in before.tensors().items()})
                    before = after
                spreads = before.observe(
                    torch.arange(step * 4, step * 4 + 4), made(step, lambda x: answer.expand_as(x))
                )
                found.append({name: float(value) for name, value in spreads.items()})
        assert found == whole
        assert len(caplog.records) == told
