"""Trees in leaf, bare trees, and hedges."""

from __future__ import annotations

import math
from random import Random

from cirn_dist.data.streets.appearance import Colour, hsv, mix
from cirn_dist.data.streets.canvas import Brush, Pixel, Sprite
from cirn_dist.data.streets.materials import Material


def leaf_paint(rng: Random) -> Colour:
    """Draw the colour of a plant's leaves."""
    return hsv(rng.uniform(0.14, 0.36), rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.62))


def tree(brush: Brush, rng: Random, x: float, z: float, *, bare: bool) -> None:
    """Draw a tree standing at (x, z)."""
    sprite = brush.sprite(x, z)
    height = rng.uniform(4, 11)
    trunk = height * rng.uniform(0.25, 0.38)
    lean = rng.gauss(0, 0.12)
    radius = height * rng.uniform(0.2, 0.32)
    bark = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.15, 0.5), rng.uniform(0.2, 0.38))
    sprite.stroke([(0, 0), (lean, trunk * 1.3)], 0.03 * height, bark, Material.BARK)
    if bare:
        _bare_crown(brush, rng, sprite, trunk, radius, lean, bark)
    elif rng.random() < 0.12:
        _conifer(rng, sprite, height)
    else:
        _leafy_crown(brush, rng, sprite, (lean, trunk + radius * 0.85), radius)


def hedge(brush: Brush, rng: Random, x: float, z: float) -> None:
    """Draw a bush or a stretch of hedge around (x, z)."""
    sprite, paint, height = brush.sprite(x, z), leaf_paint(rng), rng.uniform(0.6, 1.6)
    for _ in range(8):
        radius = height * rng.uniform(0.3, 0.55)
        light = rng.uniform(0.65, 1.1)
        sprite.disc((rng.gauss(0, 0.8), radius * 0.8), radius, paint, Material.FOLIAGE, light, tall=0.85)


def _ragged(rng: Random, centre: Pixel, radius: float, tall: float, points: int, wobble: float) -> list[Pixel]:
    """Outline of a rough ellipse, `tall` times as high as wide."""
    outline = []
    for step in range(points):
        angle, reach = 2 * math.pi * step / points, radius * (1 + rng.uniform(-wobble, wobble))
        outline.append((centre[0] + reach * math.cos(angle), centre[1] + reach * tall * math.sin(angle)))
    return outline


def _leafy_crown(brush: Brush, rng: Random, sprite: Sprite, centre: Pixel, radius: float) -> None:
    """Draw a rough core and pile clumps of leaves on it, the low ones in shade."""
    paint, sun, tall = leaf_paint(rng), brush.look.sun[0], rng.uniform(0.85, 1.25)
    sprite.shape(_ragged(rng, centre, radius * 0.95, tall, 28, 0.14), paint, Material.FOLIAGE, 0.62)
    clumps = int(min(34, 6 + sprite.scale * 0.6))
    for clump in range(clumps):
        angle, reach = rng.uniform(0, 2 * math.pi), math.sqrt(rng.random())
        size = rng.uniform(0.12, 0.3) if clump % 2 else rng.uniform(0.22, 0.42)
        reach *= 1.1 - size
        across, up = reach * math.cos(angle), reach * math.sin(angle)
        light = 0.85 + 0.3 * up + 0.8 * sun * across + rng.uniform(-0.13, 0.13)
        at = (centre[0] + across * radius, centre[1] + up * radius * tall)
        sprite.disc(at, radius * size, paint, Material.FOLIAGE, max(0.35, light), tall=0.85)


def _conifer(rng: Random, sprite: Sprite, height: float) -> None:
    paint = hsv(rng.uniform(0.28, 0.4), rng.uniform(0.3, 0.6), rng.uniform(0.15, 0.3))
    width = height * rng.uniform(0.12, 0.2)
    for tier in range(6):
        low = height * (0.08 + 0.14 * tier)
        half = width * (1 - tier / 7) * rng.uniform(0.85, 1.15)
        shape = [(-half, low), (half, low), (half * 0.1, low + height * 0.26), (-half * 0.1, low + height * 0.26)]
        sprite.shape(shape, paint, Material.FOLIAGE, rng.uniform(0.75, 1.1))


def _bare_crown(
    brush: Brush, rng: Random, sprite: Sprite, trunk: float, radius: float, lean: float, bark: Colour
) -> None:
    """Draw branches over a veil: twigs too fine for a pixel mix with the sky behind them."""
    veil = mix(bark, brush.look.glow(brush.look.sky.horizon), rng.uniform(0.08, 0.25))
    centre, fork = (lean, trunk + radius * 0.95), (lean, trunk)
    sprite.shape(_ragged(rng, centre, radius * 0.9, 1.1, 36, 0.2), veil, Material.TWIGS)
    for _ in range(int(min(22, 4 + sprite.scale * 0.4))):
        angle, reach = rng.uniform(0, 2 * math.pi), radius * math.sqrt(rng.uniform(0.1, 1.0))
        tip = (centre[0] + reach * math.cos(angle), centre[1] + 1.1 * reach * math.sin(angle))
        elbow = (fork[0] + 0.4 * (tip[0] - fork[0]) + rng.gauss(0, 0.06) * radius, fork[1] + 0.5 * (tip[1] - fork[1]))
        sprite.stroke([fork, elbow, tip], 0.05, bark, Material.BARK, rng.uniform(0.7, 1.2))
        twigs = [(tip[0] + rng.gauss(0, 0.15) * radius, tip[1] + rng.gauss(0, 0.15) * radius) for _ in range(3)]
        sprite.stroke([twigs[0], elbow, twigs[1], tip, twigs[2]], 0.02, bark, Material.TWIGS, rng.uniform(0.8, 1.4))
