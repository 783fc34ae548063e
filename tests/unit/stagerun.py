"""One stage at a time, in this process: a run of the mini configuration and its packed domains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import MINI

from cirn_dist.chain import stage_titles
from cirn_dist.config.load import load
from cirn_dist.config.schema import Config
from cirn_dist.display.progress import Progress
from cirn_dist.engine import loop
from cirn_dist.engine.join import join
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import StepResult
from cirn_dist.engine.stop import STOP, StopRequest
from cirn_dist.files import replace_text


def settings(folder: Path, *overrides: str, method: str | None = None) -> Config:
    """Return the mini configuration with a method of configs/methods laid on it, and overrides."""
    file = folder / "stage.yaml"
    replace_text(file, yaml.safe_dump(MINI))  # in one piece: other ranks write and read it too
    return load(str(file) if method is None else f"{file}+{method}", list(overrides))


def stage_run(folder: Path, *overrides: str, method: str | None = None) -> Run:
    """Return a run in `folder`; its stages write there and nothing is shown."""
    folder.mkdir(parents=True, exist_ok=True)
    config = settings(folder, *overrides, method=method)
    progress = Progress(stage_titles(config), quiet=True)
    return Run(
        config,
        folder,
        join(config.engine.precision, deterministic=config.engine.deterministic),
        progress,
        StopRequest(folder / "STOP"),
    )


def logged(run: Run, stage: str) -> list[dict[str, Any]]:
    """Return the lines of a stage's metrics.jsonl."""
    lines = (run.stage_folder(stage) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def stop_in_the_first_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the run to stop while it makes a stage's first step; a request that comes earlier is met before it."""
    step = loop.train_step

    def during(*given: Any, **named: Any) -> StepResult:
        run.stop.reason = STOP
        return step(*given, **named)

    monkeypatch.setattr(loop, "train_step", during)
