"""The paper's own configurations walk all stages on datasets of the published forms: batch 1, two heads, K = 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from rawdata import labels, picture, png16, save

CITYSCAPES_IDS = [7, 8, 11, 13, 17, 21, 23, 24, 26, 0]


def gta5(raw: Path) -> Path:
    for i in range(1, 4):
        save(raw / f"images/{i:05d}.png", picture(i, 80, 48))
        save(raw / f"labels/{i:05d}.png", labels(i, CITYSCAPES_IDS, 80, 48), palette=True)
    return raw


def synthia(raw: Path) -> Path:
    for i in range(3):
        save(raw / f"RGB/{i:07d}.png", picture(i, 80, 48))
        channels = np.zeros((48, 80, 3), np.uint16)
        channels[:, :, 0] = labels(i, [1, 2, 3, 4, 6, 8, 10], 80, 48)
        png16(raw / f"GT/LABELS/{i:07d}.png", channels)
    return raw


def cityscapes(raw: Path) -> Path:
    for split, count in (("train", 3), ("val", 2)):
        for i in range(count):
            name = f"aachen_{i:06d}_000019"
            save(raw / f"leftImg8bit/{split}/aachen/{name}_leftImg8bit.png", picture(i, 96, 48))
            if split == "val":
                save(raw / f"gtFine/val/aachen/{name}_gtFine_labelIds.png", labels(i, CITYSCAPES_IDS, 96, 48))
    return raw


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
