"""Noise fields of any size: periodic tiles made once per process, cropped anywhere and stretched to the picture."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from cirn_dist.seeds import uniforms

Field = npt.NDArray[np.float32]
Grade = Literal["grain", "mottle", "blotch"]
_TILE = 512
_REFERENCE_WIDTH = 480  # A stretched field looks at any width as its pixels do at this one.
_CELLS: dict[Grade, dict[int, float]] = {
    "grain": {1: 0.7, 2: 0.7},
    "mottle": {4: 0.6, 8: 0.6, 16: 0.4},
    "blotch": {32: 0.6, 64: 0.6, 128: 0.6},
}


def _octave(cell: int) -> Field:
    """Interpolate random values on a lattice of `cell` pixels, periodic over the tile; unit variance at the lattice."""
    cells = _TILE // cell
    values = (uniforms(cells * cells, "streets", "noise", cell).astype(np.float32) - 0.5) * np.float32(12**0.5)
    lattice = values.reshape(cells, cells)
    if cell == 1:
        return lattice
    margin = 2  # Lattice cells beyond each edge, so that the interpolation wraps.
    wide = Image.fromarray(np.pad(lattice, margin, mode="wrap"))
    size = _TILE + 2 * margin * cell
    smooth = np.asarray(wide.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    return smooth[margin * cell : -margin * cell, margin * cell : -margin * cell]


@cache
def _tile(grade: Grade) -> Field:
    field = np.zeros((_TILE, _TILE), np.float32)
    for cell, weight in _CELLS[grade].items():
        field += np.float32(weight) * _octave(cell)
    return field


def crop(grade: Grade, height: int, width: int, rng: Random) -> Field:
    """Cut a piece of noise at a random place; shape (height, width), about zero mean and unit variance."""
    rows = (np.arange(height) + rng.randrange(_TILE)) % _TILE
    columns = (np.arange(width) + rng.randrange(_TILE)) % _TILE
    return _tile(grade).take(rows, axis=0).take(columns, axis=1)


def stretched(grade: Grade, height: int, width: int, rng: Random) -> Field:
    """Cut a piece of noise and scale it with the picture, so that its features cover the same share of any width."""
    tall = max(1, round(height * _REFERENCE_WIDTH / width))
    piece = crop(grade, tall, _REFERENCE_WIDTH, rng)
    if (tall, _REFERENCE_WIDTH) == (height, width):
        return piece
    return np.asarray(Image.fromarray(piece).resize((width, height), Image.Resampling.BILINEAR), np.float32)
