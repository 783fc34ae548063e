"""Road, pavements, verges, and what is painted on them."""

from __future__ import annotations

import math
from random import Random

from cirn_dist.data.streets.appearance import Colour, hsv, toned
from cirn_dist.data.streets.canvas import Brush, World
from cirn_dist.data.streets.materials import Material
from cirn_dist.data.streets.plan import SIDES, Plan

WHITE: Colour = (235.0, 235.0, 230.0)
YELLOW: Colour = (215.0, 180.0, 60.0)
END = 160.0  # Metres to where the street is lost in the haze.
_STATIONS = (0.7, 1.2, 2.0, 3.5, 6.0, 9.0, 13.0, 18.0, 26.0, 38.0, 55.0, 80.0, 120.0)


def rectangle(left: float, right: float, near: float, far: float) -> list[World]:
    """Corners of a rectangle on the ground."""
    return [(left, 0.0, near), (right, 0.0, near), (right, 0.0, far), (left, 0.0, far)]


def disc(x: float, z: float, radius: float) -> list[World]:
    """Corners of an octagon on the ground."""
    turns = [step * math.pi / 4 for step in range(8)]
    return [(x + radius * math.cos(turn), 0.0, z + radius * math.sin(turn)) for turn in turns]


def _strip(
    brush: Brush, left: float, right: float, paint: Colour, material: Material, near: float = 0.7, far: float = END
) -> None:
    """Fill a band along the street, following its bend; shaded as at its near end, for the ground shows little haze."""
    stations = [near, *(z for z in _STATIONS if near < z < far), far]
    outline = [(left, 0.0, z) for z in stations] + [(right, 0.0, z) for z in reversed(stations)]
    brush.fill(brush.camera.project(*outline), brush.look.shade(paint, 1.0, near), material)


def ground(brush: Brush, rng: Random, plan: Plan) -> None:
    """Draw everything that lies flat."""
    synthetic = brush.look.appearance == "synthetic"
    asphalt = hsv(0.6, rng.uniform(0, 0.12), rng.uniform(0.3, 0.5) if synthetic else rng.uniform(0.38, 0.58))
    paving = hsv(rng.uniform(0.03, 0.14), rng.uniform(0.02, 0.25 if synthetic else 0.1), rng.uniform(0.42, 0.72))
    grass = hsv(rng.uniform(0.2, 0.33), rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.55))
    camera = brush.camera
    field = [(0, camera.horizon), (camera.width, camera.horizon), (camera.width, camera.height), (0, camera.height)]
    brush.fill(field, brush.look.shade(grass, 1.0, 10), Material.GRASS)
    for side in SIDES:
        _pavement(brush, rng, plan, side, paving)
    _strip(brush, -plan.kerb[-1], plan.kerb[1], asphalt, Material.ASPHALT)
    gap = plan.side_street
    if gap is not None:
        edge = gap.side * (plan.kerb[gap.side] - 0.1)
        brush.face(rectangle(edge, gap.side * 60, gap.near, gap.far), asphalt, Material.ASPHALT)
    _wear(brush, rng, plan, asphalt)
    _markings(brush, rng, plan)


def _wear(brush: Brush, rng: Random, plan: Plan, asphalt: Colour) -> None:
    """Draw seams, mended patches and manholes."""
    left, right = -plan.kerb[-1], plan.kerb[1]
    for _ in range(rng.randrange(3)):
        seam, tone = rng.uniform(left, right), rng.uniform(0.7, 1.2)
        _strip(brush, seam, seam + 0.06, toned(asphalt, tone), Material.ASPHALT, 1.0, 60.0)
    for _ in range(rng.randrange(5)):
        x, z = rng.uniform(left, right - 1.0), rng.uniform(3, 25)
        patch = rectangle(x, x + rng.uniform(0.4, 1.6), z, z + rng.uniform(0.4, 4.0))
        brush.face(patch, asphalt, Material.ASPHALT, rng.uniform(0.75, 1.1))


def _pavement(brush: Brush, rng: Random, plan: Plan, side: int, paving: Colour) -> None:
    """Draw a pavement with its kerb stones and joints."""
    edge = plan.kerb[side]
    outer = plan.walk[side] if plan.grass[side] and plan.setback[side] else 40.0
    _strip(brush, side * edge, side * (edge + outer), paving, Material.PAVING)
    _strip(brush, side * edge, side * (edge + 0.16), toned(paving, 1.15), Material.PAVING)
    if rng.random() < 0.5:
        z = 2.0
        while z < 25:
            joint = ((side * (edge + 0.2), 0.0, z), (side * (edge + plan.walk[side]), 0.0, z))
            brush.segment(*joint, 0.02, paving, Material.PAVING, 0.8)
            z += 0.8 + z * 0.03


def _markings(brush: Brush, rng: Random, plan: Plan) -> None:
    """Draw the centre line, and now and then a crossing, a stop line, zigzags or a yellow box."""
    left, right = -plan.kerb[-1], plan.kerb[1]
    centre = (left + right) / 2 + rng.gauss(0, 0.3)
    for side in SIDES:
        if rng.random() < 0.5:
            _kerb_lines(brush, rng, plan, side)
    if rng.random() < 0.8:
        _dashes(brush, rng, centre)
    if rng.random() < 0.2:
        _zebra(brush, left, right, rng.uniform(5, 25))
    if rng.random() < 0.25:
        z = rng.uniform(4, 20)
        brush.face(rectangle(left, centre, z, z + 0.3), WHITE, Material.MARKING)
    if rng.random() < 0.15:
        for side in SIDES:
            _zigzag(brush, side * (plan.kerb[side] - 0.4), side, rng.uniform(4, 12))
    if rng.random() < 0.1:
        _box(brush, left + 0.4, right - 0.4, rng.uniform(5, 12))


def _kerb_lines(brush: Brush, rng: Random, plan: Plan, side: int) -> None:
    paint = YELLOW if rng.random() < 0.6 else WHITE
    gap = plan.side_street
    end = gap.near if gap is not None and gap.side == side else 70.0
    for offset in (0.3, 0.55)[: rng.choice((1, 2))]:
        edge = side * (plan.kerb[side] - offset)
        _strip(brush, edge, edge - side * 0.1, paint, Material.MARKING, 0.7, end)


def _dashes(brush: Brush, rng: Random, x: float) -> None:
    z, dash, gap = rng.uniform(1, 4), rng.uniform(1.5, 4), rng.uniform(2, 6)
    while z < 90:
        brush.face(rectangle(x - 0.07, x + 0.07, z, z + dash), WHITE, Material.MARKING)
        z += dash + gap


def _zebra(brush: Brush, left: float, right: float, z: float) -> None:
    x = left + 0.3
    while x < right - 0.5:
        brush.face(rectangle(x, x + 0.5, z, z + 2.6), WHITE, Material.MARKING)
        x += 1.0


def _zigzag(brush: Brush, x: float, side: int, near: float) -> None:
    inner = x - side * 0.6
    for step in range(6):
        z = near + 2.0 * step
        start, end = (x, inner) if step % 2 else (inner, x)
        brush.segment((start, 0, z), (end, 0, z + 2.0), 0.1, WHITE, Material.MARKING)


def _box(brush: Brush, left: float, right: float, near: float) -> None:
    width, depth = right - left, 6.0
    for step in range(1, 6):
        share = step / 3
        low, high = max(0.0, share - 1), min(1.0, share)
        start = (left + width * low, 0.0, near + depth * high)
        end = (left + width * high, 0.0, near + depth * low)
        brush.segment(start, end, 0.1, YELLOW, Material.MARKING)
        mirrored = ((right - width * low, 0.0, start[2]), (right - width * high, 0.0, end[2]))
        brush.segment(*mirrored, 0.1, YELLOW, Material.MARKING)
