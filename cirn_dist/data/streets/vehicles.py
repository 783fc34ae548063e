"""Draws a vehicle: its model's outline extruded across the width and turned to any heading, then dressed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cirn_dist.data.streets.appearance import Colour, Look, hsv
from cirn_dist.data.streets.canvas import Brush, World, lerp
from cirn_dist.data.streets.materials import Material
from cirn_dist.data.streets.vehicle_models import Model

RUBBER: Colour = (22.0, 22.0, 24.0)


@dataclass(frozen=True)
class Pose:
    """Where a vehicle stands: its middle on the ground and its heading (0 drives away, pi comes toward the camera)."""

    x: float
    z: float
    heading: float

    def world(self, across: float, height: float, along: float) -> World:
        """World point from metres to the vehicle's right, up, and ahead of its middle."""
        sin, cos = math.sin(self.heading), math.cos(self.heading)
        return self.x + across * cos + along * sin, height, self.z - across * sin + along * cos


def draw_paint(rng: Random, look: Look) -> Colour:
    """Draw the paint of a vehicle: a colour, or a grey from black to white."""
    if rng.random() < (0.6 if look.appearance == "synthetic" else 0.35):
        hue = rng.random() if look.appearance == "synthetic" else rng.choice((0.0, 0.0, 0.6, 0.62, 0.35, 0.1))
        return hsv(hue, rng.uniform(0.5, 0.95), rng.uniform(0.25, 0.9))
    grey = rng.uniform(15, 240)
    return grey, grey, grey * 1.02


class _Body:
    """One vehicle being drawn."""

    def __init__(self, brush: Brush, rng: Random, model: Model, pose: Pose) -> None:
        self.brush, self.model, self.pose = brush, model, pose
        self.paint = draw_paint(rng, brush.look)
        tint = rng.uniform(0.6, 1.4)
        self.glass: Colour = (44 * tint, 54 * tint, 64 * tint)
        self.braking = rng.random() < 0.25
        self.top = max(height for _, height in model.outline)

    def half(self, height: float) -> float:
        """Half the width at a height: the cabin leans in above the belt."""
        model = self.model
        lean = max(0.0, height - model.belt) / (self.top - model.belt)
        return model.width / 2 * (1 - model.taper * lean)

    def point(self, side: float, share: float, height: float) -> World:
        """World point on the body; side -1 is the left flank, 1 the right."""
        return self.pose.world(side * self.half(height), height, (share - 0.5) * self.model.length)

    def distance(self, index: int) -> float:
        """Distance of the middle of edge `index` of the outline."""
        (share0, low), (share1, high) = self.model.outline[index : index + 2]
        return self.point(0, (share0 + share1) / 2, (low + high) / 2)[2]

    def visible(self, corners: Sequence[World]) -> bool:
        """Whether a face, wound anticlockwise seen from outside, turns to the camera."""
        pixels = self.brush.camera.project(*corners)
        turned = zip(pixels, [*pixels[1:], pixels[0]], strict=True)
        return sum(a[0] * b[1] - b[0] * a[1] for a, b in turned) < 0

    def light(self, normal: tuple[float, float, float]) -> float:
        """Light on a face whose normal is given in the vehicle's (across, up, along) axes."""
        turned = Pose(0, 0, self.pose.heading).world(*normal)
        return self.brush.look.light(turned)


def vehicle(brush: Brush, rng: Random, model: Model, pose: Pose) -> None:
    """Draw a vehicle."""
    body = _Body(brush, rng, model, pose)
    _underside(body)
    for index in sorted(range(len(model.outline) - 1), key=body.distance, reverse=True):
        _strip(body, index)
    for side in (-1, 1):
        if body.visible(_flank(body, side)):
            _draw_flank(body, side)


def _flank(body: _Body, side: int) -> list[World]:
    corners = [body.point(side, share, height) for share, height in body.model.outline]
    return corners if side < 0 else corners[::-1]


def _strip(body: _Body, index: int) -> None:
    """Draw the part of the body across its width along edge `index` of the outline."""
    (share0, low), (share1, high) = body.model.outline[index : index + 2]
    quad = [
        body.point(-1, share0, low),
        body.point(1, share0, low),
        body.point(1, share1, high),
        body.point(-1, share1, high),
    ]
    if not body.visible(quad):
        return
    rise, run = high - low, (share1 - share0) * body.model.length
    span = math.hypot(rise, run)
    light = body.light((0.0, run / span, -rise / span))
    body.brush.graded(quad, body.paint, Material.PAINTWORK, (light * 0.82, light * 1.12), 3)
    if index in body.model.panes:
        _pane(body, quad, light)
    if index == 0:
        _bumper(body, quad, rear=True, light=light)
    elif index == len(body.model.outline) - 2:
        # The front's quad runs from its top down: turn it bottom edge first.
        _bumper(body, [quad[2], quad[3], quad[0], quad[1]], rear=False, light=light)


def _inset(quad: Sequence[World], left: float, right: float, low: float, high: float) -> list[World]:
    """Corners of a part of a quad, in shares of its width and height."""

    def at(u: float, v: float) -> World:
        return lerp(lerp(quad[0], quad[1], u), lerp(quad[3], quad[2], u), v)

    return [at(left, low), at(right, low), at(right, high), at(left, high)]


def _pane(body: _Body, quad: Sequence[World], light: float) -> None:
    upward = quad[0][1] < quad[2][1]
    lights = (light * 0.7, light * 1.5) if upward else (light * 1.5, light * 0.7)
    body.brush.graded(_inset(quad, 0.07, 0.93, 0.06, 0.92), body.glass, Material.CAR_GLASS, lights, 4)


def _bumper(body: _Body, quad: Sequence[World], *, rear: bool, light: float) -> None:
    """Dress an end of the vehicle: lights, number plate, bumper, and a grille at the front."""
    brush, look = body.brush, body.brush.look
    dim: Colour = (150, 18, 16) if rear else (225, 225, 215)
    bright: Colour = (255, 50, 30) if rear else (255, 250, 220)
    lit = look.lamps_lit or (rear and body.braking)
    lamp = look.glow(bright) if lit else dim
    brush.face(_inset(quad, 0.0, 1.0, 0.0, 0.3), (38, 38, 40), Material.PAINTWORK, light)
    for left in (0.03, 0.82):
        brush.face(_inset(quad, left, left + 0.15, 0.52, 0.8), lamp, Material.PAINTWORK, 1.0)
    if not rear:
        brush.face(_inset(quad, 0.24, 0.76, 0.5, 0.75), (30, 30, 32), Material.PAINTWORK, light)
    plate: Colour = (235, 205, 80) if rear else (235, 235, 230)
    brush.face(_inset(quad, 0.36, 0.64, 0.3, 0.48), plate, Material.PAINTWORK, light)


def _draw_flank(body: _Body, side: int) -> None:
    """Draw a side: shaded sill to roof, windows, door seam and wheels."""
    brush, model = body.brush, body.model
    light = body.light((side, 0.0, 0.0))
    brush.face(_flank(body, side), body.paint, Material.PAINTWORK, light * 0.95)
    sill = model.outline[0][1]
    shoulder = min(height for _, height in model.outline[1:-1])
    middle = (sill + shoulder) / 2
    for low, high, share in ((sill, middle, 0.62), (middle, shoulder, 0.8)):
        panel = [
            body.point(side, 0, low),
            body.point(side, 1, low),
            body.point(side, 1, high),
            body.point(side, 0, high),
        ]
        brush.face(panel, body.paint, Material.PAINTWORK, light * share)
    for low, high in model.window_rows:
        for start, end in model.windows:
            _side_window(body, side, (start, end), (low, high), light)
    for share in (0.18, 0.81):
        _wheel(body, side, share)


def _side_window(
    body: _Body, side: int, shares: tuple[float, float], heights: tuple[float, float], light: float
) -> None:
    (start, end), (low, high) = shares, heights
    # Windows lean with the pillars: narrower at the top, within the roof.
    lean = 0.0 if body.model.taper < 0.1 else 0.05
    first, last = body.model.windows[0][0], body.model.windows[-1][1]
    top_start = start + (lean if start == first else 0.0)
    top_end = end - (2 * lean if end == last else 0.0)
    quad = [
        body.point(side, start, low),
        body.point(side, end, low),
        body.point(side, top_end, high),
        body.point(side, top_start, high),
    ]
    body.brush.graded(quad, body.glass, Material.CAR_GLASS, (light * 0.7, light * 1.4), 3)


def _wheel(body: _Body, side: int, share: float) -> None:
    radius = body.model.wheel
    _round(body, side, share, radius * 1.12, (16, 16, 18), 1.0)
    _round(body, side, share, radius * 0.62, (140, 140, 145), body.light((side, 0, 0)))


def _round(body: _Body, side: int, share: float, radius: float, paint: Colour, light: float) -> None:
    along, across = (share - 0.5) * body.model.length, side * body.model.width / 2
    ring = []
    for step in range(12):
        angle = step * math.pi / 6
        height = max(0.0, body.model.wheel + radius * math.sin(angle))
        ring.append(body.pose.world(across, height, along + radius * math.cos(angle)))
    body.brush.face(ring, paint, Material.RUBBER, light)


def _underside(body: _Body) -> None:
    """Fill the dark gap between the body and the ground, and the wheels seen through it."""
    model, sill = body.model, body.model.outline[0][1]
    half, reach = model.width * 0.46, model.length * 0.44
    corners = [(-half, -reach), (half, -reach), (half, reach), (-half, reach)]
    for (a0, l0), (a1, l1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        world = body.pose.world
        quad = [world(a0, 0.1, l0), world(a1, 0.1, l1), world(a1, sill + 0.05, l1), world(a0, sill + 0.05, l0)]
        if body.visible(quad):
            body.brush.face(quad, (18, 18, 20), Material.RUBBER)
    for across in (-0.4, 0.4):
        for along in (0.32, -0.32):
            x, _, z = body.pose.world(across * model.width, 0, along * model.length)
            body.brush.sprite(x, z).box((-0.11, 0), (0.11, model.wheel * 2), RUBBER, Material.RUBBER)
