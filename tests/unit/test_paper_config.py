"""The paper's own configurations walk all stages on datasets of the published forms: batch 1, two heads, K = 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Command
from papersets import RANDOM_CAFFE, cityscapes, gta5, paper_run, synthia
from stagerun import logged, stop_in_the_first_step

from cirn_dist.config.schema import flatten
from cirn_dist.engine.loop import fit
from cirn_dist.errors import Stopped
from cirn_dist.paper.statements import judge
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.segmenter import build_segmenter


@pytest.mark.slow
@pytest.mark.parametrize("source", [gta5, synthia])
def test_a_paper_configuration_runs_to_its_report(source: object, cirn_dist: Command, tmp_path: Path) -> None:
    raw = [f"data.source.raw={source(tmp_path / 'source')}", f"data.target.raw={cityscapes(tmp_path / 'target')}"]  # type: ignore[operator]
    small = [
        "data.source.size=[64,40]",
        "data.target.size=[64,32]",
        "data.workers=0",
        "model.backbone=resnet18",
        "model.weights=null",
        "translate.augment.crop=[48,32]",
        "translate.ngf=4",
        "translate.ndf=4",
        "evaluate.adabn_images=2",
        *(f"{stage}.iterations=2" for stage in ("source", "translate", "cir", "adapt", "self_train")),
    ]
    done = cirn_dist("run", f"{source.__name__}_cityscapes", *raw, *small, "--out", tmp_path / "run")  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run/results.json").read_text())["rows"]
    assert [row["iterations"] for row in rows] == [2, 2, 2, 2]
    assert all(len(row["iou"]) == 19 and row["miou"] is not None for row in rows)
    assert rows[1]["control"]["miou"] == rows[0]["miou"], "from ImageNet, CIR's control of the same length is source"
    assert not (tmp_path / "run/source_control").exists()


def test_the_papers_settings_make_a_step_of_the_real_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the image size and the weights file is the paper's: 45 M parameters, K = 2, step 1 of 100,000."""
    run = paper_run(tmp_path, "gta5_cityscapes", size=(128, 64), overrides=("engine.log_every=1",))
    changed = {setting.partition("=")[0] for setting in RANDOM_CAFFE} | {"data.source.size", "data.target.size"}
    departing = {one.key for one in judge(flatten(run.config.model_dump(mode="json"))) if one.differs}
    assert departing - {"adapt.d_weight_decay"} <= changed
    domains = open_domains(run)
    stop_in_the_first_step(run, monkeypatch)
    with pytest.raises(Stopped, match="stopped at iteration 1 and saved"):
        fit(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt), run)
    (line,) = logged(run, "adapt")
    assert line["rates"] == {"segmenter": pytest.approx(2.5e-4 / 5000), "discriminator": pytest.approx(1e-4 / 5000)}
    assert set(line["losses"]) == {"seg", "adv", "weight", "d"}
    assert line["losses"]["d"] == pytest.approx(2 * 0.693, abs=0.05), "D starts undecided, unweighted at first"
    assert all(value is not None for part in ("losses", "observed") for value in line[part].values())
    checkpoint = run.latest("adapt")
    assert checkpoint is not None
    trained, start = checkpoint.read("segmenter"), build_segmenter(run, with_acm=True)
    for name, parameter in start.named_parameters():
        assert torch.equal(trained[name], parameter) != parameter.requires_grad, name
    assert sum(p.numel() for p in start.parameters()) > 45.3e6
