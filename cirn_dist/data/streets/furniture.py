"""What stands on the pavement: lamps, traffic lights, signs, bollards, railings and clutter."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cirn_dist.data.streets.appearance import Colour, hsv
from cirn_dist.data.streets.canvas import Brush, Sprite, World
from cirn_dist.data.streets.materials import Material

WHITE: Colour = (242.0, 242.0, 240.0)
RED: Colour = (210.0, 22.0, 28.0)
BLUE: Colour = (22.0, 62.0, 185.0)
BLACK: Colour = (26.0, 26.0, 28.0)
POST = 0.12  # Metres across a lamp post.


def lamp(brush: Brush, rng: Random, x: float, z: float, *, height: float, arm: bool, paint: Colour) -> None:
    """Draw a street lamp, a little out of plumb; its arm reaches over the road."""
    sprite, inward = brush.sprite(x, z), (-1.0 if x > 0 else 1.0)
    top = (height * rng.gauss(0, 0.008), height)
    sprite.stroke([(0, 0), (0, height * 0.2)], POST * 1.4, paint, Material.METAL)
    sprite.stroke([(0, 0), top], POST * 1.1, paint, Material.METAL)
    light = brush.look.glow((255, 235, 190)) if brush.look.lamps_lit else (225.0, 225.0, 210.0)
    if arm:
        sprite.stroke([top, (top[0] + inward * 1.5, height + 0.3)], POST * 0.7, paint, Material.METAL)
        sprite.disc((top[0] + inward * 1.6, height + 0.25), 0.4, light, Material.METAL, tall=0.35)
    else:
        sprite.disc(top, 0.28, light, Material.METAL)


def bollard(brush: Brush, rng: Random, x: float, z: float) -> None:
    """Draw a bollard."""
    sprite, height = brush.sprite(x, z), rng.uniform(0.8, 1.1)
    paint = BLACK if rng.random() < 0.6 else hsv(rng.random(), 0.5, 0.5)
    sprite.stroke([(0, 0), (0, height)], POST * 1.1, paint, Material.METAL)
    sprite.stroke([(0, height * 0.8), (0, height * 0.88)], POST * 1.1, WHITE, Material.METAL)


def traffic_light(brush: Brush, rng: Random, x: float, z: float) -> None:
    """Draw a traffic light with one lamp on."""
    sprite = brush.sprite(x, z)
    sprite.stroke([(0, 0), (0, 3.3)], POST, (70, 72, 74), Material.METAL)
    sprite.box((-0.3, 2.4), (0.3, 3.6), BLACK, Material.SIGN, 0.9)
    lit = rng.randrange(3)
    for lamp_index, paint in enumerate(((255, 40, 25), (255, 180, 20), (40, 255, 120))):
        on = lamp_index == lit
        colour = brush.look.glow(paint) if on else (52.0, 50.0, 48.0)
        sprite.disc((0, 3.34 - 0.34 * lamp_index), 0.14, colour, Material.SIGN)


def sign(brush: Brush, rng: Random, x: float, z: float, *, post: Colour) -> None:
    """Draw a road sign on its post."""
    sprite, height = brush.sprite(x, z), rng.uniform(2.0, 3.2)
    sprite.stroke([(0, 0), (0, height)], POST * 0.7, post, Material.METAL)
    plate = rng.choice(_PLATES)
    plate(rng, sprite, height, rng.uniform(0.32, 0.55))


def _ring(rng: Random, sprite: Sprite, y: float, size: float) -> None:
    sprite.disc((0, y), size, RED, Material.SIGN)
    sprite.disc((0, y), size * 0.72, WHITE, Material.SIGN)
    sprite.stroke([(-size * 0.3, y), (size * 0.3, y)], size * 0.5, BLACK, Material.SIGN)


def _triangle(rng: Random, sprite: Sprite, y: float, size: float) -> None:
    for share, paint in ((1.15, RED), (0.72, WHITE)):
        a = size * share
        sprite.shape([(0, y + a), (a, y - a * 0.7), (-a, y - a * 0.7)], paint, Material.SIGN)
    sprite.stroke([(0, y - size * 0.3), (0, y + size * 0.3)], size * 0.16, BLACK, Material.SIGN)


def _arrow(rng: Random, sprite: Sprite, y: float, size: float) -> None:
    sprite.disc((0, y), size, BLUE, Material.SIGN)
    sprite.stroke([(-size * 0.4, y + size * 0.4), (size * 0.4, y - size * 0.4)], size * 0.25, WHITE, Material.SIGN)


def _board(rng: Random, sprite: Sprite, y: float, size: float) -> None:
    half = size * rng.uniform(0.9, 2.0)
    paint = hsv(rng.choice((0.6, 0.38, 0.0, 0.13)), 0.8, rng.uniform(0.35, 0.9))
    sprite.box((-half, y - size), (half, y + size), paint, Material.SIGN)
    for row in (-0.5, 0.0, 0.5):
        line = [(-half * 0.75, y + row * size), (half * rng.uniform(0.1, 0.75), y + row * size)]
        sprite.stroke(line, size * 0.16, WHITE, Material.SIGN)


def _back(rng: Random, sprite: Sprite, y: float, size: float) -> None:
    sprite.disc((0, y), size, (120, 122, 124), Material.SIGN)


_PLATES: tuple[Callable[[Random, Sprite, float, float], None], ...] = (_ring, _triangle, _arrow, _board, _back)


def hanging_sign(brush: Brush, rng: Random, x: float, z: float) -> None:
    """Draw a sign on a wall or a bracket above the pavement."""
    sprite = brush.sprite(x, z, rng.uniform(2.8, 4.6))
    half, tall = rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.55)
    outward = 1.0 if x > 0 else -1.0
    sprite.stroke([(0, tall), (outward * 1.0, tall)], 0.05, BLACK, Material.WALL)
    paint = hsv(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.3, 1.0))
    if rng.random() < 0.3:
        sprite.disc((0, 0), half, paint, Material.SIGN)
    else:
        sprite.box((-half, -tall), (half, tall), paint, Material.SIGN)
    for row in (-0.35, 0.1):
        sprite.stroke([(-half * 0.6, row * tall), (half * 0.6, row * tall)], tall * 0.25, WHITE, Material.SIGN)


def boundary(brush: Brush, rng: Random, x: float, near: float, far: float) -> None:
    """Draw what ends a plot along the street at x: a wall, boards, or railings, some of them on a low wall.

    As CamVid's labels have it, a wall is building, and railings are fence with all that is seen through them.
    """
    draw = rng.choices((_wall, _boards, _railings, _railings_on_wall), (0.25, 0.15, 0.35, 0.25))[0]
    draw(brush, rng, x, near, far)


def _facing(brush: Brush, x: float) -> float:
    """Return the light on what faces the street at x."""
    return brush.look.light((-1.0 if x > 0 else 1.0, 0, 0))


def _panel(x: float, near: float, far: float, low: float, high: float) -> list[World]:
    return [(x, low, near), (x, low, far), (x, high, far), (x, high, near)]


def _stone(brush: Brush, rng: Random, x: float, near: float, far: float, height: float) -> None:
    paint = hsv(rng.choice((0.03, 0.07, 0.1)), rng.uniform(0.08, 0.5), rng.uniform(0.25, 0.65))
    light = _facing(brush, x)
    brush.graded(_panel(x, near, far, 0, height), paint, Material.WALL, (light * 0.65, light * 0.9), 3)
    brush.segment((x, height, near), (x, height, far), 0.08, paint, Material.WALL, light * 1.2)


def _wall(brush: Brush, rng: Random, x: float, near: float, far: float) -> None:
    _stone(brush, rng, x, near, far, rng.uniform(0.6, 1.9))


def _boards(brush: Brush, rng: Random, x: float, near: float, far: float) -> None:
    height, light = rng.uniform(0.9, 1.9), _facing(brush, x)
    paint = hsv(rng.choice((0.06, 0.09, 0.11, 0.33)), rng.uniform(0.1, 0.55), rng.uniform(0.2, 0.6))
    brush.graded(_panel(x, near, far, 0, height), paint, Material.FENCE, (light * 0.6, light * 0.9), 3)
    _bars(brush, x, near, far, (0, height), 0.35, 0.07, paint, light * 1.15)


def _railings(brush: Brush, rng: Random, x: float, near: float, far: float, foot: float = 0.0) -> None:
    """Draw iron bars: those too fine for a pixel darken what is behind them."""
    height, light = foot + rng.uniform(0.8, 1.7), _facing(brush, x)
    black = rng.random() < 0.75
    paint = hsv(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.04, 0.16) if black else rng.uniform(0.35, 0.7))
    cover = rng.uniform(0.25, 0.65)
    brush.veil(_panel(x, near, far, foot, height), paint, Material.FENCE, cover, light)
    _bars(brush, x, near, far, (foot, height), rng.uniform(0.1, 0.2), 0.03, paint, light)


def _railings_on_wall(brush: Brush, rng: Random, x: float, near: float, far: float) -> None:
    foot = rng.uniform(0.25, 0.9)
    _stone(brush, rng, x, near, far, foot)
    _railings(brush, rng, x, near, far, foot)


def _bars(
    brush: Brush,
    x: float,
    near: float,
    far: float,
    reach: tuple[float, float],
    step: float,
    width: float,
    paint: Colour,
    light: float,
) -> None:
    """Draw upright bars where they are apart in the picture, and the rails that hold them."""
    low, high = reach
    z = near
    while z < far and brush.camera.scale(z) * step > 2:
        brush.segment((x, low, z), (x, high, z), width, paint, Material.FENCE, light)
        z += step
    for y in (low + 0.1 * (high - low), high):
        brush.segment((x, y, near), (x, y, far), 0.04, paint, Material.FENCE, light)


def clutter(brush: Brush, rng: Random, x: float, z: float) -> None:
    """Draw a litter bin, a cabinet or a pillar box: things outside the eleven classes."""
    sprite, half, height = brush.sprite(x, z), rng.uniform(0.22, 0.4), rng.uniform(0.8, 1.5)
    paint = rng.choice((BLACK, RED, (60.0, 80.0, 62.0), (105.0, 105.0, 105.0)))
    sprite.box((-half, 0), (half, height), paint, Material.CLUTTER, 0.8)
    sprite.box((-half, height * 0.85), (half, height), paint, Material.CLUTTER, 1.1)
