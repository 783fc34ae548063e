"""GTAV, SYNTHIA and Cityscapes in their published forms on disk, a few small images each, and runs on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
SYNTHIA_IDS = [1, 2, 3, 4, 6, 8, 10]
Scene = tuple[np.ndarray, np.ndarray]  # an image (H, W, 3), and its labels (H, W) as the set calls the classes


def drawn(numbers: Iterable[int], ids: list[int], width: int = 80, height: int = 48) -> Iterator[Scene]:
    """Draw tiny scenes."""
    return ((picture(i, width, height), labels(i, ids, width, height)) for i in numbers)


def gta5(raw: Path, scenes: Iterable[Scene] | None = None) -> Path:
    """Write images and palette PNGs of Cityscapes' ids."""
    for i, (image, ids) in enumerate(scenes or drawn(range(1, 4), CITYSCAPES_IDS), start=1):
        save(raw / f"images/{i:05d}.png", image)
        save(raw / f"labels/{i:05d}.png", ids, palette=True)
    return raw


def synthia(raw: Path, scenes: Iterable[Scene] | None = None) -> Path:
    """Write images and 16-bit RGB labels: the class in red, the object's number in green."""
    for i, (image, ids) in enumerate(scenes or drawn(range(3), SYNTHIA_IDS)):
        save(raw / f"RGB/{i:07d}.png", image)
        objects = np.arange(ids.size, dtype=np.uint16).reshape(ids.shape) // 97
        png16(raw / f"GT/LABELS/{i:07d}.png", np.stack([ids.astype(np.uint16), objects, np.zeros_like(objects)], -1))
    return raw


def cityscapes(raw: Path, train: Iterable[Scene] | None = None, val: Iterable[Scene] | None = None) -> Path:
    """Write images, and labelIds of val alone: of train nobody may need them."""
    tiny = (drawn(range(count), CITYSCAPES_IDS, 96) for count in (3, 2))
    for split, given, own in zip(("train", "val"), (train, val), tiny, strict=True):
        for i, (image, ids) in enumerate(given or own):
            name = f"aachen_{i:06d}_000019"
            save(raw / f"leftImg8bit/{split}/aachen/{name}_leftImg8bit.png", image)
            if split == "val":
                save(raw / f"gtFine/val/aachen/{name}_gtFine_labelIds.png", ids)
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
