"""What a pixel is made of: every material belongs to one class and has its own texture in each appearance."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cirn_dist.choices import Appearance

# CamVid's train ids.
SKY, BUILDING, POLE, ROAD, SIDEWALK, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
IGNORE = 255


class Texture(NamedTuple):
    """Relative strength of the grain (1 to 2 pixels), mottle (4 to 16) and blotch (32 to 128) noise fields."""

    grain: float
    mottle: float
    blotch: float


class Material(IntEnum):
    """The surfaces of the street; the canvas keeps one per pixel."""

    SKY = 0
    WALL = 1
    ROOF = 2
    WINDOW = 3
    METAL = 4
    ASPHALT = 5
    MARKING = 6
    PAVING = 7
    GRASS = 8
    FOLIAGE = 9
    TWIGS = 10
    BARK = 11
    SIGN = 12
    FENCE = 13
    PAINTWORK = 14
    CAR_GLASS = 15
    RUBBER = 16
    CLOTHES = 17
    RIDER = 18
    CLUTTER = 19


class Surface(NamedTuple):
    """A material's class and its textures, clean (synthetic) and worn (photo)."""

    label: int
    clean: Texture
    worn: Texture


SURFACES: dict[Material, Surface] = {
    Material.SKY: Surface(SKY, Texture(0, 0, 0), Texture(0, 0, 0.01)),
    Material.WALL: Surface(BUILDING, Texture(0.03, 0.03, 0.02), Texture(0.05, 0.04, 0.09)),
    Material.ROOF: Surface(BUILDING, Texture(0.04, 0.02, 0.02), Texture(0.10, 0.06, 0.08)),
    Material.WINDOW: Surface(BUILDING, Texture(0, 0, 0.05), Texture(0.05, 0.22, 0.20)),
    Material.METAL: Surface(POLE, Texture(0, 0, 0), Texture(0.05, 0.04, 0)),
    Material.ASPHALT: Surface(ROAD, Texture(0.03, 0.01, 0.03), Texture(0.04, 0.02, 0.08)),
    Material.MARKING: Surface(ROAD, Texture(0.02, 0.01, 0), Texture(0.08, 0.10, 0.04)),
    Material.PAVING: Surface(SIDEWALK, Texture(0.03, 0.02, 0.03), Texture(0.05, 0.03, 0.08)),
    Material.GRASS: Surface(TREE, Texture(0.06, 0.05, 0.04), Texture(0.13, 0.10, 0.10)),
    Material.FOLIAGE: Surface(TREE, Texture(0.10, 0.15, 0.04), Texture(0.20, 0.26, 0.10)),
    Material.TWIGS: Surface(TREE, Texture(0.08, 0.08, 0), Texture(0.15, 0.16, 0.05)),
    Material.BARK: Surface(TREE, Texture(0.04, 0.05, 0), Texture(0.12, 0.12, 0)),
    Material.SIGN: Surface(SIGN, Texture(0, 0, 0), Texture(0.04, 0.05, 0)),
    Material.FENCE: Surface(FENCE, Texture(0.04, 0.03, 0), Texture(0.12, 0.10, 0.05)),
    Material.PAINTWORK: Surface(CAR, Texture(0, 0, 0), Texture(0.03, 0.05, 0.06)),
    Material.CAR_GLASS: Surface(CAR, Texture(0, 0, 0), Texture(0.03, 0.18, 0.15)),
    Material.RUBBER: Surface(CAR, Texture(0, 0, 0), Texture(0.06, 0.06, 0)),
    Material.CLOTHES: Surface(PEDESTRIAN, Texture(0.02, 0.03, 0), Texture(0.07, 0.12, 0.03)),
    Material.RIDER: Surface(BICYCLIST, Texture(0.02, 0.03, 0), Texture(0.07, 0.12, 0.03)),
    Material.CLUTTER: Surface(IGNORE, Texture(0.02, 0.02, 0), Texture(0.08, 0.08, 0.05)),
}

LABEL_OF: npt.NDArray[np.uint8] = np.array([SURFACES[material].label for material in Material], np.uint8)


def texture_table(appearance: Appearance) -> npt.NDArray[np.float32]:
    """Tabulate the texture of every material; shape (3, materials)."""
    rows = [surface.clean if appearance == "synthetic" else surface.worn for surface in SURFACES.values()]
    return np.array(rows, np.float32).T.copy()
