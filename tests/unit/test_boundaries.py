"""Walls, boards and railings of the streets: classes as CamVid has them, and what is seen through bars."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
import pytest

from cirn_dist.data.labels import label_space
from cirn_dist.data.streets import furniture
from cirn_dist.data.streets.appearance import draw_look
from cirn_dist.data.streets.canvas import Brush, Camera
from cirn_dist.data.streets.materials import LABEL_OF, Material

FENCE, BUILDING = (label_space("camvid11").classes.index(name) for name in ("fence", "building"))


@pytest.fixture
def brush() -> Brush:
    """A camera at a height of 1.5 m over a chequered nothing, without haze to speak of near by."""
    look = draw_look(Random(1), "synthetic")
    brush = Brush(Camera(240, 180, 200, 90, 120, 1.5, 0), look)
    for column in range(0, 240, 8):
        colour = (200, 180, 160) if column % 16 else (60, 90, 120)
        brush.fill([(column, 0), (column + 7, 0), (column + 7, 179), (column, 179)], colour, Material.FOLIAGE)
    return brush


def pixels(brush: Brush) -> npt.NDArray[np.int16]:
    return np.asarray(brush.canvas).astype(np.int16)


def test_a_veil_covers_its_share_of_the_colours_and_gives_the_whole_its_class(brush: Brush) -> None:
    before = pixels(brush)
    quad = [(-1.0, 0.5, 4.0), (1.0, 0.5, 4.0), (1.0, 2.0, 4.0), (-1.0, 2.0, 4.0)]
    brush.veil(quad, (20, 20, 20), Material.FENCE, 0.4)
    after = pixels(brush)
    inside = after[:, :, 3] == Material.FENCE
    # Pixels 70 to 170 across, 65 to 140 down: 200 / 4 a metre around (120, 90), the eye at 1.5 m.
    rows, columns = np.nonzero(inside)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (70, 170, 65, 140)
    assert inside.sum() == 101 * 76
    ink = np.array(brush.look.shade((20, 20, 20), 1.0, 4.0))
    expected = 0.6 * before[inside][:, :3] + 0.4 * ink
    assert np.abs(after[inside][:, :3] - expected).max() <= 1
    assert (after[~inside] == before[~inside]).all()


@pytest.mark.parametrize("x", [-400.0, 400.0])
def test_a_veil_beside_the_picture_changes_nothing(brush: Brush, x: float) -> None:
    before = pixels(brush)
    brush.veil([(x, 0, 4), (x + 1, 0, 4), (x + 1, 1, 4), (x, 1, 4)], (20, 20, 20), Material.FENCE, 0.4)
    assert (pixels(brush) == before).all()


def kinds(brush: Brush, seed: int) -> tuple[set[int], npt.NDArray[np.int16]]:
    """Draw a boundary from 4 to 20 m ahead; return its classes and how the picture changed."""
    before = pixels(brush)
    furniture.boundary(brush, Random(seed), 2.5, 4.0, 20.0)
    after = pixels(brush)
    drawn = (after != before).any(-1)
    return set(LABEL_OF[after[:, :, 3][drawn]].tolist()), after


def test_walls_are_building_and_what_has_gaps_is_fence(brush: Brush) -> None:
    seen = []
    clean = brush.canvas.copy()
    for seed in range(60):
        brush.canvas.paste(clean)
        seen.append(frozenset(kinds(brush, seed)[0]))
    assert set(seen) == {frozenset({BUILDING}), frozenset({FENCE}), frozenset({BUILDING, FENCE})}
    assert 0.1 < np.mean([found == {BUILDING} for found in seen]) < 0.4


def test_what_stands_behind_railings_is_seen_through_them(brush: Brush) -> None:
    """The chequers behind go on stepping inside the fence, but for those behind boards."""
    through = []
    clean = brush.canvas.copy()
    for seed in range(60):
        brush.canvas.paste(clean)
        found, after = kinds(brush, seed)
        if FENCE in found:
            far = (after[:, :, 3] == Material.FENCE) & (np.arange(240) < 160)  # some 12 m away: bars are one grey
            step = np.abs(np.diff(after[:, :, :3].sum(-1), axis=1, prepend=0))
            through.append(np.quantile(step[far], 0.95) > 40)
    assert 0.5 < np.mean(through) < 1
