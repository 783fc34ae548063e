"""Terraced houses, shops and blocks: a footprint on the plan, extruded, with windows on the walls that are seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from random import Random

from cirn_dist.data.streets.appearance import Colour, Look, hsv, toned
from cirn_dist.data.streets.canvas import Brush, World
from cirn_dist.data.streets.materials import Material

Spot = tuple[float, float]  # (x, z) on the ground, metres.
_BRICKS = (0.02, 0.05, 0.08, 0.11, 0.13)


@dataclass(frozen=True)
class Style:
    """What the walls of one building share."""

    paint: Colour
    roof: Colour
    glass: Colour
    frame: Colour
    floor: float
    bay: float
    window_width: float
    window_height: float
    ground_floor: str


@dataclass(frozen=True)
class Wall:
    """An upright rectangle over the plan from `start` to `end`; it may be seen from either side."""

    start: Spot
    end: Spot
    height: float
    light: float

    @cached_property
    def length(self) -> float:
        """Metres from start to end."""
        return math.dist(self.start, self.end)

    @property
    def distance(self) -> float:
        """Metres ahead of the camera, at the wall's middle."""
        return (self.start[1] + self.end[1]) / 2

    def at(self, along: float, height: float) -> World:
        """World point `along` metres from the start."""
        share = along / self.length
        return (
            self.start[0] + (self.end[0] - self.start[0]) * share,
            height,
            self.start[1] + (self.end[1] - self.start[1]) * share,
        )

    def panel(self, left: float, right: float, low: float, high: float) -> list[World]:
        """Corners of a rectangle on the wall, bottom edge first."""
        return [self.at(left, low), self.at(right, low), self.at(right, high), self.at(left, high)]


def draw_style(rng: Random, look: Look) -> Style:
    """Draw one building's paints and measures."""
    if look.appearance == "synthetic":
        usual = hsv(rng.choice((*_BRICKS, 0.55)) + rng.gauss(0, 0.015), rng.uniform(0.1, 0.65), rng.uniform(0.4, 0.95))
        paint = usual if rng.random() < 0.85 else hsv(rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.5, 0.9))
    else:
        pale = rng.random() < 0.4
        value = rng.uniform(0.75, 1.0) if pale else rng.uniform(0.3, 0.65)
        paint = hsv(rng.choice(_BRICKS), rng.uniform(0.05, 0.2) if pale else rng.uniform(0.15, 0.5), value)
    trim = (238.0, 238.0, 232.0) if rng.random() < 0.6 else toned(paint, 0.7)
    lit = look.lamps_lit and rng.random() < 0.4
    glass = hsv(rng.uniform(0.5, 0.62), rng.uniform(0.05, 0.4), rng.uniform(0.12, 0.6))
    return Style(
        paint,
        hsv(rng.choice((0.02, 0.05, 0.6)), rng.uniform(0.1, 0.5), rng.uniform(0.22, 0.5)),
        look.glow((150, 120, 60)) if lit else glass,
        trim,
        rng.uniform(2.7, 3.6),
        rng.uniform(1.8, 4.0),
        rng.uniform(0.35, 0.75),
        rng.uniform(0.42, 0.7),
        rng.choices(("shop", "dark", "home", "plain"), (0.36, 0.2, 0.34, 0.10))[0],
    )


def building(brush: Brush, rng: Random, side: int, x: float, near: float, far: float, height: float) -> None:
    """Draw a building whose street wall stands `x` metres to `side` (-1 left, 1 right), from `near` to `far`."""
    style = draw_style(rng, brush.look)
    front, back = side * x, side * (x + rng.uniform(6, 12))
    look = brush.look
    end_wall = Wall((front, near), (back, near), height, look.light((0, 0, -1)))
    street_wall = Wall((front, near), (front, far), height, look.light((-side, 0, 0)))
    _paint_wall(brush, style, end_wall)
    if rng.random() < 0.6:
        _gable_roof(brush, rng, style, end_wall, far, side)
    else:
        _parapet(brush, style, street_wall)
    if rng.random() < 0.5:
        _windows(brush, style, end_wall, skip_floors=1)
    _paint_wall(brush, style, street_wall)
    _dress(brush, rng, style, street_wall)


def block(brush: Brush, rng: Random, left: float, right: float, z: float, height: float) -> None:
    """Draw a building that closes the view, its wall facing the camera at distance z."""
    style = draw_style(rng, brush.look)
    wall = Wall((left, z), (right, z), height, brush.look.light((0, 0, -1)))
    _paint_wall(brush, style, wall)
    _parapet(brush, style, wall)
    _dress(brush, rng, style, wall)


def _paint_wall(brush: Brush, style: Style, wall: Wall) -> None:
    # The street shades itself: a wall is darker toward its foot.
    lights = (wall.light * 0.72, wall.light * 1.08)
    brush.graded(wall.panel(0, wall.length, 0, wall.height), style.paint, Material.WALL, lights, bands=5)


def _parapet(brush: Brush, style: Style, wall: Wall) -> None:
    top = wall.height
    brush.face(wall.panel(0, wall.length, top - 0.35, top + 0.3), style.frame, Material.WALL, wall.light * 0.8)


def _gable_roof(brush: Brush, rng: Random, style: Style, end_wall: Wall, far: float, side: int) -> None:
    (front, near), (back, _) = end_wall.start, end_wall.end
    ridge_x, eaves = (front + back) / 2, end_wall.height
    ridge = eaves + rng.uniform(1.0, 3.5)
    gable = [(front, eaves, near), (ridge_x, ridge, near), (back, eaves, near)]
    brush.face(gable, style.paint, Material.WALL, end_wall.light)
    slope = [(front, eaves, near), (front, eaves, far), (ridge_x, ridge, far), (ridge_x, ridge, near)]
    brush.face(slope, style.roof, Material.ROOF, brush.look.light((-side * 0.6, 0.8, 0)))
    for _ in range(rng.choice((0, 1, 1, 2))):
        stack = brush.sprite(ridge_x, rng.uniform(near, far), ridge - 0.4)
        stack.box((-0.45, 0), (0.45, 1.7), style.paint, Material.WALL, 0.7)
        stack.box((-0.3, 1.7), (-0.1, 2.1), (150, 80, 55), Material.WALL, 0.8)
        stack.box((0.1, 1.7), (0.3, 2.1), (150, 80, 55), Material.WALL, 0.8)


def _dress(brush: Brush, rng: Random, style: Style, wall: Wall) -> None:
    """Add ground floor, windows and pipes to a wall that is near enough to show them."""
    if brush.camera.scale(wall.distance) * style.floor < 4:
        return
    if style.ground_floor == "plain":
        _windows(brush, style, wall, skip_floors=0)
        return
    _windows(brush, style, wall, skip_floors=1)
    if style.ground_floor == "shop":
        _shop(brush, rng, wall, style.floor)
    elif style.ground_floor == "dark":
        _arcade(brush, rng, wall, style)
    else:
        _home(brush, rng, wall, style)
    if rng.random() < 0.4:
        pipe = rng.uniform(0.1, 0.9) * wall.length
        brush.segment(wall.at(pipe, 0), wall.at(pipe, wall.height), 0.1, (60, 60, 62), Material.WALL, wall.light)


def _windows(brush: Brush, style: Style, wall: Wall, skip_floors: int) -> None:
    """Draw a grid of framed windows from floor `skip_floors` up."""
    columns = max(1, int(wall.length / style.bay))
    floors = max(1, int(wall.height / style.floor))
    pitch = wall.length / columns
    half = pitch * style.window_width / 2
    for column in range(columns):
        left, right = (column + 0.5) * pitch - half, (column + 0.5) * pitch + half
        near, far = wall.at(left, 0), wall.at(right, 0)
        (first, _), (last, _) = brush.camera.project(near, far)
        if max(first, last) < 0 or min(first, last) > brush.camera.width or abs(first - last) < 0.7:
            continue
        for floor in range(skip_floors, floors):
            low = (floor + 0.6 * (1 - style.window_height)) * style.floor
            _window(brush, style, wall, (left, right, low, low + style.floor * style.window_height))


def _window(brush: Brush, style: Style, wall: Wall, bounds: tuple[float, float, float, float]) -> None:
    """Draw one window, as finely as its size in the picture asks for, unless it is above the picture."""
    left, right, low, high = bounds
    sill = wall.at((left + right) / 2, low)
    if brush.camera.project(sill)[0][1] < 0:
        return
    scale = brush.camera.scale(sill[2])
    if scale > 14:
        frame = wall.panel(left - 0.09, right + 0.09, low - 0.14, high + 0.09)
        brush.face(frame, style.frame, Material.WALL, wall.light)
    brush.face(wall.panel(left, right, low, high), style.glass, Material.WINDOW, wall.light)
    if scale > 24:
        middle, sash = (left + right) / 2, (low + high) / 2
        brush.segment(wall.at(middle, low), wall.at(middle, high), 0.06, style.frame, Material.WALL, wall.light)
        brush.segment(wall.at(left, sash), wall.at(right, sash), 0.06, style.frame, Material.WALL, wall.light)


def _shop(brush: Brush, rng: Random, wall: Wall, storey: float) -> None:
    """Draw a shop front: a painted surround, a name board, and dark or lit panes."""
    look, top = brush.look, min(storey, wall.height) - 0.1
    colourful = look.appearance == "synthetic" or rng.random() < 0.3
    paint = hsv(rng.random(), rng.uniform(0.4, 0.9) if colourful else 0.15, rng.uniform(0.12, 0.9))
    glass = look.glow((170, 145, 95)) if look.lamps_lit and rng.random() < 0.6 else (38.0, 44.0, 52.0)
    brush.face(wall.panel(0, wall.length, 0, top), paint, Material.WALL, wall.light * 0.75)
    brush.face(wall.panel(0, wall.length, top - 0.7, top), paint, Material.WALL, wall.light * 1.1)
    words = rng.uniform(0.15, 0.3) * wall.length
    brush.segment(
        wall.at(words, top - 0.36), wall.at(wall.length - words, top - 0.36), 0.22, (230, 225, 205), Material.WALL
    )
    along = 0.25
    while along < wall.length - 1.0:
        end = min(along + rng.uniform(0.9, 3.0), wall.length - 0.2)
        sill = 0.05 if end - along < 1.4 else 0.5
        pane = wall.panel(along, end, sill, top - 0.85)
        brush.graded(pane, glass, Material.WINDOW, (rng.uniform(0.4, 0.9), rng.uniform(0.9, 1.9)), 3)
        along = end + 0.3
    if rng.random() < 0.2:
        _awning(brush, rng, wall, top - 0.7)


def _awning(brush: Brush, rng: Random, wall: Wall, height: float) -> None:
    reach = -1.2 if wall.start[0] > 0 else 1.2
    near, far = wall.at(0.2, height), wall.at(wall.length - 0.2, height)
    drop = [(near[0] + reach, height - 0.6, near[2]), (far[0] + reach, height - 0.6, far[2])]
    paint = hsv(rng.random(), 0.7, rng.uniform(0.3, 0.8))
    brush.face([drop[0], drop[1], far, near], paint, Material.WALL, 1.05)


def _arcade(brush: Brush, rng: Random, wall: Wall, style: Style) -> None:
    """Draw a ground floor in deep shade behind piers: gates, garages and unlit shops."""
    top = min(style.floor, wall.height) - 0.3
    brush.graded(wall.panel(0, wall.length, 0, top), (42, 41, 40), Material.WALL, (0.5, 1.0), 3)
    along, pitch = 0.0, rng.uniform(1.5, 3.5)
    while along < wall.length - 0.4:
        brush.face(wall.panel(along, along + 0.4, 0, top), style.paint, Material.WALL, wall.light * 0.65)
        along += pitch


def _home(brush: Brush, rng: Random, wall: Wall, style: Style) -> None:
    """Draw a house's ground floor: a plinth, doors and windows."""
    plinth = wall.panel(0, wall.length, 0, 0.5)
    brush.face(plinth, style.paint, Material.WALL, wall.light * 0.55)
    along = rng.uniform(0.3, 1.2)
    while along + 1.0 < wall.length:
        door = hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.6))
        brush.face(wall.panel(along - 0.1, along + 1.05, 0, 2.25), style.frame, Material.WALL, wall.light * 0.85)
        brush.face(wall.panel(along, along + 0.95, 0, 2.1), door, Material.WALL, wall.light * 0.8)
        bounds = (along + 1.7, min(along + 3.2, wall.length - 0.3), 0.85, 2.25)
        if bounds[1] > bounds[0] + 0.4:
            _window(brush, style, wall, bounds)
        along += rng.uniform(4.5, 6.5)
