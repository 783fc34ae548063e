"""What a stage starts from: which networks of the stage before it, and what ACM's classifier starts as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cirn_dist.chain import cir_control, stage_titles, table_rows
from cirn_dist.config.load import load
from cirn_dist.display.progress import Progress
from cirn_dist.engine.join import join
from cirn_dist.engine.run import Run
from cirn_dist.engine.stop import StopRequest
from cirn_dist.stages.segmenter import initial_segmenter


def opened(folder: Path, *overrides: str) -> Run:
    config = load(str(folder / "config.yaml"), list(overrides))
    return Run(config, folder, join("fp32"), Progress([], quiet=True), StopRequest(folder / "STOP"))


@pytest.mark.parametrize("start", ["random", "classifier"])
def test_stage_2_goes_on_from_the_cir_row(finished_run: Path, start: str) -> None:
    run = opened(finished_run)
    segmenter, parents = initial_segmenter(run, "cir", with_acm=True, acm_start=start)
    trained = run.finished("cir").read("segmenter")
    state = segmenter.state_dict()
    assert all(torch.equal(state[key], value) for key, value in trained.items())
    assert list(parents) == ["cir"]
    assert segmenter.acm is not None
    for own, copied in zip(segmenter.classifier.parameters(), segmenter.acm.classifiers.parameters(), strict=True):
        assert torch.equal(own, copied) == (start == "classifier")


def test_without_the_cir_stage_2_goes_on_from_the_source(finished_run: Path) -> None:
    run = opened(finished_run, "with_cir=false")
    _, parents = initial_segmenter(run, "cir", with_acm=True)
    assert list(parents) == ["source"]
    assert "cir_control" not in dict(stage_titles(run.config))
    assert {row.stage: row.control for row in table_rows(run.config)}["adapt"] == "source_control"


def test_stage_2s_control_has_its_settings_and_nothing_of_its_idea() -> None:
    config = load("demo", ["adapt.iterations=99", "adapt.lr=0.5"])
    control = cir_control(config)
    assert (control.iterations, control.lr, control.init) == (99, 0.5, "cir")
    assert "lambda_adv" not in type(control).model_fields
    assert {row.stage: row.control for row in table_rows(config)}["adapt"] == "cir_control"
    paper = load("demo", ["adapt.init=source"])
    assert {row.stage: row.control for row in table_rows(paper)}["adapt"] == "cir"
