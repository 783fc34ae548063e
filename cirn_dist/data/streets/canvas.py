"""A pinhole camera in the street and the canvas it draws on.

The canvas is one RGBA image whose fourth channel holds the material, so a shape writes colour and class in one stroke
and the two agree in every pixel. World axes, in metres: x to the right, y up from the ground, z ahead of the camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from cirn_dist.data.streets.appearance import Colour, Look
from cirn_dist.data.streets.materials import Material

Pixel = tuple[float, float]
World = tuple[float, float, float]
NEAR = 0.6  # Metres; what is nearer is drawn as if it stood here.


@dataclass(frozen=True)
class Camera:
    """Projects metres to pixels; `bend` curves the street sideways by bend * z ** 2."""

    width: int
    height: int
    focal: float
    horizon: float
    centre: float
    eye: float
    bend: float

    def scale(self, z: float) -> float:
        """Pixels per metre at distance z."""
        return self.focal / max(z, NEAR)

    def project(self, *points: World) -> list[Pixel]:
        """Pixel positions of world points."""
        focal, horizon, centre, eye, bend = self.focal, self.horizon, self.centre, self.eye, self.bend
        pixels = []
        for x, y, z in points:
            z = z if z > NEAR else NEAR
            scale = focal / z
            pixels.append((centre + (x + bend * z * z) * scale, horizon + (eye - y) * scale))
        return pixels

    def sees(self, x: float, z: float, margin: float) -> bool:
        """Whether something within `margin` metres of (x, z) can reach the picture."""
        ((column, _),) = self.project((x, 0.0, z))
        reach = margin * self.scale(z)
        return -reach < column < self.width + reach


class Brush:
    """Draws shaded shapes, given in metres, on the canvas; later strokes cover earlier ones."""

    def __init__(self, camera: Camera, look: Look) -> None:
        self.camera, self.look = camera, look
        self.canvas = Image.new("RGBA", (camera.width, camera.height), (0, 0, 0, int(Material.SKY)))
        self._draw = ImageDraw.Draw(self.canvas)

    def fill(self, pixels: Sequence[Pixel], colour: tuple[int, int, int], material: Material) -> None:
        """Fill a polygon given in pixels with an already shaded colour."""
        self._draw.polygon(pixels, fill=(*colour, int(material)))

    def face(self, corners: Sequence[World], paint: Colour, material: Material, light: float = 1.0) -> None:
        """Fill a polygon of world points with one paint."""
        self.fill(self.camera.project(*corners), self.look.shade(paint, light, _distance(corners)), material)

    def graded(
        self, quad: Sequence[World], paint: Colour, material: Material, lights: tuple[float, float], bands: int = 4
    ) -> None:
        """Fill a quad (bottom edge first: 0-1 below 3-2) with light changing in bands from its bottom to its top."""
        a, b, c, d = self.camera.project(*quad)
        distance = _distance(quad)
        bands = min(bands, 1 + int(max(abs(a[1] - d[1]), abs(b[1] - c[1])) / 5))
        left, right = a, b
        for band in range(1, bands + 1):
            above_left, above_right = _between(a, d, band / bands), _between(b, c, band / bands)
            light = lights[0] + (lights[1] - lights[0]) * (band - 0.5) / bands
            colour = self.look.shade(paint, light, distance)
            self.fill([left, right, above_right, above_left], colour, material)
            left, right = above_left, above_right

    def veil(
        self, corners: Sequence[World], paint: Colour, material: Material, cover: float, light: float = 1.0
    ) -> None:
        """Lay parts too fine for a pixel over a polygon: their paint covers a share of what is there."""
        pixels = self.camera.project(*corners)
        across, up = ([pixel[axis] for pixel in pixels] for axis in (0, 1))
        left, top = max(0, math.floor(min(across))), max(0, math.floor(min(up)))
        right = min(self.canvas.width, math.ceil(max(across)) + 1)
        bottom = min(self.canvas.height, math.ceil(max(up)) + 1)
        if left >= right or top >= bottom:
            return
        behind = self.canvas.crop((left, top, right, bottom))
        where = Image.new("L", behind.size)
        ImageDraw.Draw(where).polygon([(u - left, v - top) for u, v in pixels], fill=255)
        ink = Image.new("RGBA", behind.size, (*self.look.shade(paint, light, _distance(corners)), 0))
        mixed = Image.blend(behind, ink, cover)
        mixed.putalpha(int(material))
        self.canvas.paste(mixed, (left, top), where)

    def segment(
        self, start: World, end: World, width: float, paint: Colour, material: Material, light: float = 1.0
    ) -> None:
        """Draw a line of `width` metres, never thinner than one pixel."""
        distance = _distance((start, end))
        ink = (*self.look.shade(paint, light, distance), int(material))
        pixels = max(1, round(width * self.camera.scale(distance)))
        self._draw.line(self.camera.project(start, end), fill=ink, width=pixels)

    def sprite(self, x: float, z: float, y: float = 0.0) -> Sprite:
        """Open an upright plane that faces the camera, with its origin at (x, y, z)."""
        return Sprite(self, self._draw, (x, y, z))

    def cast(self, shadows: Sequence[tuple[Sequence[World], float]], softness: float) -> None:
        """Darken what is drawn so far under polygons, each with the share of light it leaves; softness in pixels."""
        light = Image.new("L", self.canvas.size, 255)
        draw = ImageDraw.Draw(light)
        for corners, share in sorted(shadows, key=lambda shadow: -shadow[1]):
            draw.polygon(self.camera.project(*corners), fill=round(255 * share))
        light = light.filter(ImageFilter.BoxBlur(softness))
        opaque = Image.new("L", self.canvas.size, 255)
        self.canvas = ImageChops.multiply(self.canvas, Image.merge("RGBA", (light, light, light, opaque)))
        self._draw = ImageDraw.Draw(self.canvas)


class Sprite:
    """A flat figure facing the camera; coordinates are metres to the right of and above its origin."""

    def __init__(self, brush: Brush, draw: ImageDraw.ImageDraw, origin: World) -> None:
        self._brush, self._draw = brush, draw
        self.distance = origin[2]
        self.scale = brush.camera.scale(self.distance)
        ((self._u, self._v),) = brush.camera.project(origin)

    def _pixel(self, point: Pixel) -> Pixel:
        return self._u + point[0] * self.scale, self._v - point[1] * self.scale

    def _ink(self, paint: Colour, material: Material, light: float) -> tuple[int, int, int, int]:
        return (*self._brush.look.shade(paint, light, self.distance), int(material))

    def shape(self, points: Sequence[Pixel], paint: Colour, material: Material, light: float = 1.0) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._pixel(point) for point in points], fill=self._ink(paint, material, light))

    def box(self, low: Pixel, high: Pixel, paint: Colour, material: Material, light: float = 1.0) -> None:
        """Fill an upright rectangle between its lower left and upper right corners."""
        self.shape([low, (high[0], low[1]), high, (low[0], high[1])], paint, material, light)

    def disc(
        self, centre: Pixel, radius: float, paint: Colour, material: Material, light: float = 1.0, tall: float = 1.0
    ) -> None:
        """Fill a disc, `tall` times as high as wide; one too small for a pixel is left out."""
        u, v = self._pixel(centre)
        across, up = radius * self.scale, radius * tall * self.scale
        if min(across, up) >= 0.5:
            self._draw.ellipse((u - across, v - up, u + across, v + up), fill=self._ink(paint, material, light))

    def stroke(
        self, points: Sequence[Pixel], width: float, paint: Colour, material: Material, light: float = 1.0
    ) -> None:
        """Draw a line through points, `width` metres thick, never thinner than one pixel."""
        thickness = max(1, round(width * self.scale))
        self._draw.line([self._pixel(point) for point in points], self._ink(paint, material, light), thickness)


def _distance(corners: Sequence[World]) -> float:
    """Metres ahead of the camera, half way from the first corner to the one across."""
    return (corners[0][2] + corners[len(corners) // 2][2]) / 2


def _between(a: Pixel, b: Pixel, t: float) -> Pixel:
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t


def lerp(a: World, b: World, t: float) -> World:
    """Point at share t of the way from a to b."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t
