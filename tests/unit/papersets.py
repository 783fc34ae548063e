"""GTAV, SYNTHIA and Cityscapes in their published forms on disk, a few small images each, and runs on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rawdata import labels, picture, png16, save

from cirn_dist.chain import stage_titles
from cirn_dist.config.load import load
from cirn_dist.display.progress import Progress
from cirn_dist.engine.join import join
from cirn_dist.engine.run import Run
from cirn_dist.engine.stop import StopRequest

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


# All that the lineage's real network needs to run without its weights file, and no more.
RANDOM_CAFFE = ("model.backbone=resnet101_caffe", "model.weights=null", "data.workers=0", "engine.precision=fp32")


def paper_run(folder: Path, *configs: str, size: tuple[int, int], overrides: tuple[str, ...] = ()) -> Run:
    """Return a run of shipped configurations on images of one small size, with the lineage's network at random."""
    file = folder / "child.yaml"
    file.write_text(f"extends: [{', '.join(configs)}]", encoding="utf-8")
    raw = gta5(folder / "gta5"), cityscapes(folder / "cityscapes")
    small = [f"data.{domain}.raw={path}" for domain, path in zip(("source", "target"), raw, strict=True)]
    small += [f"data.{domain}.size={list(size)}" for domain in ("source", "target")]
    config = load(str(file), [*small, *RANDOM_CAFFE, *overrides])
    progress = Progress(stage_titles(config), quiet=True)
    return Run(config, folder / "run", join("fp32"), progress, StopRequest(folder / "STOP"))
