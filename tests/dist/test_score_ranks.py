"""One rank or two: the same confusion matrix, every pixel of every image once, at Cityscapes' sizes."""

from __future__ import annotations

import sys

from pathlib import Path

import numpy as np
import pytest
from launching import ROOT, launch
from PIL import Image

sys.path.insert(0, str(ROOT / "tests/unit"))
from rawdata import save

IMAGES = 3  # more than fit evenly on two ranks


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and labels of 2048x1024, to be packed at 1024x512: classes 0 to 10 and ignored pixels, and one image to train on."""
    folder, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    for split, count in (("train", 1), ("val", IMAGES)):
        for i in range(count):
            coarse = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
            save(folder / f"{split}/images/{i}.png", np.kron(coarse, np.ones((32, 32, 1), np.uint8)))
            label = rng.choice([*range(11), 255], (64, 128)).astype(np.uint8)
            save(folder / f"{split}/labels/{i}.png", np.kron(label, np.ones((16, 16), np.uint8)))
    return folder


def confusion(ranks: int, raw: Path, folder: Path) -> np.ndarray:
    done = launch(ranks, raw, folder, script=ROOT / "tests/dist/score_ranks.py", launcher="torchrun", timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(folder / "confusion.npy")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_count_what_one_counts(raw: Path, tmp_path: Path) -> None:
    one, two = (confusion(ranks, raw, tmp_path / str(ranks)) for ranks in (1, 2))
    assert one.dtype == np.int64
    np.testing.assert_array_equal(one, two)
    assert (one.sum(0) > 0).sum() > 1, "not one class for every pixel"
    truth = np.zeros(11, np.int64)
    for file in (raw / "val/labels").iterdir():
        truth += np.bincount(np.asarray(Image.open(file)).ravel(), minlength=256)[:11]
    np.testing.assert_array_equal(one.sum(1), truth, "each labelled pixel of 2048x1024 counts once")
