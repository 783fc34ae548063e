"""GTA5, SYNTHIA and Cityscapes as they are published, at their sizes or a share of them; what is on them is streets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from papersets import Scene, cityscapes, gta5, synthia

from cirn_dist.choices import Appearance
from cirn_dist.data.labels import label_space
from cirn_dist.data.streets import render

# Of CamVid's 11 classes, which the streets have; what is none of them is 0 in all three.
_CITYSCAPES_IDS = {
    "sky": 23, "building": 11, "pole": 17, "road": 7, "sidewalk": 8, "tree": 21, "sign": 20, "fence": 13, "car": 26,
    "pedestrian": 24, "bicyclist": 25,
}  # fmt: skip
_SYNTHIA_IDS = {
    "sky": 1, "building": 2, "pole": 7, "road": 3, "sidewalk": 4, "tree": 6, "sign": 9, "fence": 5, "car": 8,
    "pedestrian": 10, "bicyclist": 11,
}  # fmt: skip


def write_source(recipe: str, raw: Path, count: int, share: float) -> None:
    """Write so many images and labels of a source set: gta5 or synthia."""
    if recipe == "gta5":
        gta5(raw, _streets(0, count, (1914, 1052), share, _CITYSCAPES_IDS))
    else:
        synthia(raw, _streets(1, count, (1280, 760), share, _SYNTHIA_IDS))


def write_cityscapes(raw: Path, count: int, share: float) -> None:
    """Write so many images of train, and of val with labels."""
    train, val = (_streets(seed, count, (2048, 1024), share, _CITYSCAPES_IDS, "photo") for seed in (2, 3))
    cityscapes(raw, train, val)


def _streets(
    seed: int,
    count: int,
    size: tuple[int, int],
    share: float,
    ids: Mapping[str, int],
    appearance: Appearance = "synthetic",
) -> Iterator[Scene]:
    width, height = (round(side * share) for side in size)
    table = np.zeros(256, np.uint8)
    for train_id, name in enumerate(label_space("camvid11").classes):
        table[train_id] = ids[name]
    for i in range(count):
        image, label = render(seed, i, width, height, appearance)
        yield image, table[label]
