"""Trees in leaf, bare trees, and hedges."""

from __future__ import annotations

import math
from random import Random

from cirn_dist.data.streets.appearance import Colour, hsv, mix
from cirn_dist.data.streets.canvas import Brush, Sprite
from cirn_dist.data.streets.materials import Material


def leaf_paint(rng: Random) -> Colour:
    """Draw the colour of a plant's leaves."""
    return hsv(rng.uniform(0.18, 0.36), rng.uniform(0.35, 0.8), rng.uniform(0.3, 0.62))


def tree(brush: Brush, rng: Random, x: float, z: float, *, bare: bool) -> None:
    """Draw a tree standing at (x, z)."""
    sprite = brush.sprite(x, z)
    height = rng.uniform(4, 11)
    trunk = height * rng.uniform(0.25, 0.38)
    lean = rng.gauss(0, 0.12)
    radius = height * rng.uniform(0.2, 0.32)
    crown = (lean, trunk + radius * 0.85)
    bark = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.15, 0.5), rng.uniform(0.2, 0.38))
    sprite.stroke([(0, 0), (lean, trunk * 1.3)], 0.03 * height, bark, Material.BARK)
    if bare:
        _bare_crown(brush, rng, sprite, crown, radius, trunk, bark)
    elif rng.random() < 0.12:
        _conifer(rng, sprite, height)
    else:
        _leafy_crown(brush, rng, sprite, crown, radius)


def hedge(brush: Brush, rng: Random, x: float, z: float) -> None:
    """Draw a bush or a stretch of hedge around (x, z)."""
    sprite, paint, height = brush.sprite(x, z), leaf_paint(rng), rng.uniform(0.6, 1.6)
    for _ in range(8):
        radius = height * rng.uniform(0.3, 0.55)
        light = rng.uniform(0.65, 1.1)
        sprite.disc((rng.gauss(0, 0.8), radius * 0.8), radius, paint, Material.FOLIAGE, light, tall=0.85)


def _leafy_crown(brush: Brush, rng: Random, sprite: Sprite, centre: tuple[float, float], radius: float) -> None:
    """Pile clumps of leaves, the low ones in shade, and fray the outline with small ones."""
    paint = leaf_paint(rng)
    sun = brush.look.sun[0]
    squash = rng.uniform(0.85, 1.25)
    clumps = int(min(34, 10 + sprite.scale * 0.5))
    for clump in range(clumps):
        angle = rng.uniform(0, 2 * math.pi)
        reach = math.sqrt(rng.random()) if clump < clumps * 0.6 else rng.uniform(0.85, 1.15)
        size = rng.uniform(0.28, 0.5) if clump < clumps * 0.6 else rng.uniform(0.1, 0.25)
        across, up = reach * math.cos(angle), reach * math.sin(angle) * squash
        light = 0.82 + 0.3 * up + 0.8 * sun * across + rng.uniform(-0.14, 0.14)
        at = (centre[0] + across * radius, centre[1] + up * radius)
        sprite.disc(at, radius * size, paint, Material.FOLIAGE, max(0.3, light), tall=0.9)


def _conifer(rng: Random, sprite: Sprite, height: float) -> None:
    paint = hsv(rng.uniform(0.28, 0.4), rng.uniform(0.3, 0.6), rng.uniform(0.15, 0.3))
    width = height * rng.uniform(0.12, 0.2)
    for tier in range(6):
        low = height * (0.08 + 0.14 * tier)
        half = width * (1 - tier / 7) * rng.uniform(0.85, 1.15)
        shape = [(-half, low), (half, low), (half * 0.1, low + height * 0.26), (-half * 0.1, low + height * 0.26)]
        sprite.shape(shape, paint, Material.FOLIAGE, rng.uniform(0.75, 1.1))


def _bare_crown(
    brush: Brush, rng: Random, sprite: Sprite, centre: tuple[float, float], radius: float, trunk: float, bark: Colour
) -> None:
    """Draw branches over a veil: twigs too fine for a pixel mix with the sky behind them."""
    exposure = brush.look.exposure
    sky = brush.look.sky.horizon
    behind = (sky[0] / exposure, sky[1] / exposure, sky[2] / exposure)
    veil = mix(behind, bark, rng.uniform(0.5, 0.75))
    tips = []
    for _ in range(int(min(18, 8 + sprite.scale * 0.3))):
        angle, reach = rng.uniform(0, 2 * math.pi), math.sqrt(rng.random())
        tip = (centre[0] + reach * radius * math.cos(angle), centre[1] + reach * radius * math.sin(angle) * 1.1)
        tips.append(tip)
        sprite.disc(tip, radius * rng.uniform(0.15, 0.34), veil, Material.TWIGS, rng.uniform(0.85, 1.1))
    for tip in tips:
        fork = (centre[0] + (tip[0] - centre[0]) * 0.35, trunk + (tip[1] - trunk) * 0.45)
        sprite.stroke([(centre[0], trunk), fork, tip], 0.05, bark, Material.BARK, rng.uniform(0.7, 1.2))
        for _ in range(4):
            end = (tip[0] + rng.gauss(0, 0.2) * radius, tip[1] + rng.gauss(0.05, 0.2) * radius)
            sprite.stroke([fork, end], 0.02, bark, Material.TWIGS, rng.uniform(0.8, 1.4))
