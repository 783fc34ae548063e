"""Data and classes of one's own: a recipe of three classes, folders of images and label ids, a run of ten seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rawdata import save

CLASSES = ("ground", "sky", "vehicle")
SPACE = "{name: mine3, classes: [ground, sky, vehicle], palette: [[90, 60, 30], [70, 130, 180], [0, 0, 142]]}"
RECIPE = """name: mine
label_space: {space}
forms:
  - {{images: "{{split}}/images/*.png", labels: "{{split}}/labels/{{1}}.png"}}
splits: {{train: {{}}, val: {{label_size: original}}}}
"""
TINY = """extends: smoke
name: tiny
controls: false
data:
  label_space: null
  workers: 0
  source: {{recipe: {recipe}, raw: {raw}/source, size: [64, 48]}}
  target: {{recipe: {recipe}, raw: {raw}/target, size: [64, 48], score_split: val}}
engine: {{images_per_step: 2, micro_batch: 2, log_every: 2, checkpoint_every: 2}}
source: {{iterations: 4, warmup: 1, augment: {{crop: [64, 48]}}}}
translate: {{iterations: 4, augment: {{crop: [64, 48]}}, quality_images: 4, panel_every: 0}}
cir: {{iterations: 4, warmup: 1, augment: {{crop: [64, 48]}}}}
adapt: {{iterations: 4, warmup: 1, augment: {{crop: [64, 48]}}}}
self_train: {{iterations: 4, warmup: 1, augment: {{crop: [64, 48]}}}}
evaluate: {{panels: 9, batch: 2, adabn_images: 4}}
"""


def image(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Ramps that differ from image to image, and a square."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 4 + 9 * number, y * 5 + 31 * number, (x + y + 17 * number) * 2], -1) % 256
    pixels[5 + number % 9 : 20 + number % 9, 10:30] = (200, 40 + number % 100, 30)
    return pixels.astype(np.uint8)


def label(number: int, width: int = 64, height: int = 48, classes: int = 3) -> np.ndarray:
    """Tiles of all classes under three rows that are ignored."""
    y, x = np.mgrid[:height, :width]
    ids = (x // 8 + y // 12 + number) % classes
    ids[:3] = 255
    return ids.astype(np.uint8)


def folder(
    root: Path, count: int, split: str = "train", *, labels: bool = True, size: tuple[int, int] = (64, 48)
) -> Path:
    """Write SPLIT/images/NAME.png and, with labels, SPLIT/labels/NAME.png."""
    for number in range(count):
        save(root / f"{split}/images/im{number:03d}.png", image(number, *size))
        if labels:
            save(root / f"{split}/labels/im{number:03d}.png", label(number, *size))
    return root


def recipe(path: Path, space: str = SPACE) -> Path:
    path.write_text(RECIPE.format(space=space), encoding="utf-8")
    return path


def tiny(root: Path, space: str = SPACE) -> Path:
    """Write 8 source, 8 target and 4 scored images, a recipe, and a configuration of every stage; returns the last."""
    folder(root / "source", 8)
    folder(root / "target", 8, labels=False)
    folder(root / "target", 4, "val")
    path = root / "tiny.yaml"
    path.write_text(TINY.format(recipe=recipe(root / "mine.yaml", space), raw=root), encoding="utf-8")
    return path
