"""Pedestrians and cyclists, as figures that face or cross the camera's view."""

from __future__ import annotations

from random import Random

from cirn_dist.data.streets.appearance import Colour, Look, hsv
from cirn_dist.data.streets.canvas import Brush, Sprite
from cirn_dist.data.streets.materials import Material

_HAIR: tuple[Colour, ...] = ((28, 22, 18), (60, 40, 24), (120, 90, 50), (140, 138, 135))
_SKIN: tuple[Colour, ...] = ((215, 165, 135), (215, 165, 135), (160, 110, 80), (110, 75, 55))


def _cloth(rng: Random, look: Look) -> Colour:
    if look.appearance == "synthetic":
        return hsv(rng.random(), rng.uniform(0.3, 0.95), rng.uniform(0.15, 0.9))
    return hsv(rng.random(), rng.uniform(0.1, 0.6), rng.choice((0.12, 0.2, 0.3, 0.6)) * rng.uniform(0.7, 1.2))


def pedestrian(brush: Brush, rng: Random, x: float, z: float) -> None:
    """Draw someone walking or standing at (x, z)."""
    sprite, look, tall = brush.sprite(x, z), brush.look, rng.uniform(1.45, 1.9)
    trousers, coat = _cloth(rng, look), _cloth(rng, look)
    skin, hair = rng.choice(_SKIN), rng.choice(_HAIR)
    stride, sway = rng.uniform(0.0, 0.28), rng.uniform(-0.05, 0.05)
    hip, shoulder = tall * rng.uniform(0.38, 0.5), tall * 0.83
    for foot in (-1, 1):
        ankle = (foot * (0.07 + stride), 0.06)
        sprite.stroke([ankle, (foot * 0.08, tall * 0.5)], 0.16, trousers, Material.CLOTHES, 0.85 + 0.1 * foot)
        sprite.stroke([(ankle[0] - 0.08, 0.03), (ankle[0] + 0.1, 0.03)], 0.08, (25, 22, 20), Material.CLOTHES)
    torso = [(-0.2, hip), (0.2, hip), (0.24 + sway, shoulder), (-0.24 + sway, shoulder)]
    sprite.shape(torso, coat, Material.CLOTHES)
    sprite.shape([(-0.2, hip), (-0.04, hip), (-0.06, shoulder), (-0.24 + sway, shoulder)], coat, Material.CLOTHES, 0.75)
    for hand in (-1, 1):
        arm = [(hand * 0.24 + sway, tall * 0.8), (hand * (0.27 + stride * 0.4), tall * 0.47)]
        sprite.stroke(arm, 0.1, coat, Material.CLOTHES, 0.8)
    _head(sprite, (sway, tall * 0.92), tall * 0.07, skin, hair, Material.CLOTHES)


def cyclist(brush: Brush, rng: Random, x: float, z: float) -> None:
    """Draw a rider on a bicycle, seen from anywhere between behind and the side."""
    sprite, look = brush.sprite(x, z), brush.look
    turn = rng.uniform(0.12, 1.0) * rng.choice((-1, 1))  # Cosine of the angle to the picture plane.
    reach = 0.52 * turn
    trousers, coat = _cloth(rng, look), _cloth(rng, look)
    frame = hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.6))
    for axle in (-reach, reach):
        _wheel(sprite, axle, max(0.06, 0.33 * abs(turn)))
    saddle, bars, crank = (-reach * 0.45, 0.92), (reach * 0.75, 1.02), (0.0, 0.3)
    for tube in ([(-reach, 0.33), crank, bars, saddle, crank], [saddle, (-reach, 0.33)], [bars, (reach, 0.33)]):
        sprite.stroke(tube, 0.04, frame, Material.RIDER)
    for leg, knee in ((-1, 0.62), (1, 0.5)):
        path = [(leg * 0.07, 0.2 + 0.1 * leg), (reach * 0.25 + leg * 0.1, knee), (saddle[0] + leg * 0.06, 0.98)]
        sprite.stroke(path, 0.15, trousers, Material.RIDER, 0.9 + 0.1 * leg)
    neck = (reach * 0.28, 1.46)
    hips = [(saddle[0] - 0.17, 0.9), (saddle[0] + 0.17, 0.9)]
    sprite.shape([*hips, (neck[0] + 0.21, neck[1]), (neck[0] - 0.21, neck[1])], coat, Material.RIDER)
    for hand in (-1, 1):
        elbow = (neck[0] + hand * 0.24, 1.2)
        sprite.stroke([(neck[0] + hand * 0.17, 1.42), elbow, bars], 0.09, coat, Material.RIDER, 0.85)
    hair = rng.choice(_HAIR) if rng.random() < 0.5 else _cloth(rng, look)
    _head(sprite, (neck[0] + reach * 0.12, 1.62), 0.12, rng.choice(_SKIN), hair, Material.RIDER)


def _wheel(sprite: Sprite, axle: float, half: float) -> None:
    tall = 0.33 / half
    sprite.disc((axle, 0.33), half, (26, 26, 28), Material.RIDER, tall=tall)
    if half > 0.12:
        sprite.disc((axle, 0.33), half - 0.05, (112, 112, 112), Material.RIDER, tall=0.28 / (half - 0.05))


def _head(
    sprite: Sprite, centre: tuple[float, float], radius: float, skin: Colour, hair: Colour, material: Material
) -> None:
    sprite.disc(centre, radius, skin, material, tall=1.25)
    sprite.disc((centre[0], centre[1] + radius * 0.55), radius, hair, material, tall=0.75)
