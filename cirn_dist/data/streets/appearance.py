"""How one picture looks: light, weather, colour and sensor, drawn per image from its appearance's habits."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from random import Random
from typing import Literal

from cirn_dist.choices import Appearance

Colour = tuple[float, float, float]
Weather = Literal["clear", "overcast", "sunset", "dusk"]

_WEATHERS: dict[Appearance, dict[Weather, float]] = {
    # Always daylight, as in most synthetic sets: dark frames are part of the gap.
    "synthetic": {"clear": 0.60, "overcast": 0.28, "sunset": 0.12},
    "photo": {"clear": 0.50, "overcast": 0.32, "sunset": 0.02, "dusk": 0.16},
}


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB in 0..255 from hue (any real, period 1), saturation and value in 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Blend two colours; share 0 is a, 1 is b."""
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share


def toned(colour: Colour, gain: float) -> Colour:
    """Make a colour lighter or darker."""
    return colour[0] * gain, colour[1] * gain, colour[2] * gain


@dataclass(frozen=True)
class Sky:
    """Two colours of a vertical gradient and the clouds over it."""

    zenith: Colour
    horizon: Colour
    cloud: Colour
    cover: float


@dataclass(frozen=True)
class Sensor:
    """Blur as a share of the picture's width, noise in grey levels, and the exponent of the response curve."""

    blur: float
    noise: float
    gamma: float


@dataclass(frozen=True)
class Look:
    """Everything that turns a paint into the colour of a pixel."""

    appearance: Appearance
    weather: Weather
    sky: Sky
    sensor: Sensor
    saturation: float
    exposure: float
    sun: tuple[float, float, float]
    haze: Colour
    haze_range: float

    @property
    def lamps_lit(self) -> bool:
        """Whether vehicles and windows are lit."""
        return self.weather == "dusk"

    def light(self, normal: tuple[float, float, float]) -> float:
        """Light on a face with this outward unit normal: sky from above, and the sun."""
        toward_sun = sum(n * s for n, s in zip(normal, self.sun, strict=True))
        return 0.86 + 0.2 * normal[1] + toward_sun

    def shade(self, paint: Colour, light: float = 1.0, distance: float = 0.0) -> tuple[int, int, int]:
        """Colour of a paint under `light`, behind `distance` metres of haze; grey levels, clipped only when drawn."""
        red, green, blue = paint
        grey = 0.3 * red + 0.59 * green + 0.11 * blue
        clear = math.exp(-distance / self.haze_range)
        gain, veil, colour = light * self.exposure * clear, 1.0 - clear, self.saturation
        haze = self.haze
        return (
            int((grey + (red - grey) * colour) * gain + haze[0] * veil),
            int((grey + (green - grey) * colour) * gain + haze[1] * veil),
            int((grey + (blue - grey) * colour) * gain + haze[2] * veil),
        )

    def glow(self, paint: Colour) -> Colour:
        """Paint of a light source: it keeps its brightness however dark the scene is."""
        return toned(paint, 1.0 / self.exposure)


def draw_look(rng: Random, appearance: Appearance) -> Look:
    """Draw the look of one picture."""
    habits = _WEATHERS[appearance]
    weather = rng.choices(list(habits), list(habits.values()))[0]
    sky = _synthetic_sky(rng, weather) if appearance == "synthetic" else _photo_sky(rng, weather)
    exposure = _exposure(rng, appearance, weather)
    haze_share = 0.92 if appearance == "synthetic" else 0.55
    return Look(
        appearance,
        weather,
        sky,
        _sensor(rng, appearance, weather),
        rng.uniform(0.9, 1.2) if appearance == "synthetic" else rng.uniform(0.15, 0.5),
        exposure,
        _sun(rng, weather),
        toned(sky.horizon, haze_share),
        rng.uniform(180, 700),
    )


def _sun(rng: Random, weather: Weather) -> tuple[float, float, float]:
    if weather in ("overcast", "dusk") or rng.random() < 0.2:
        return 0.0, 0.0, 0.0
    azimuth, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0.15, 0.5)
    return strength * math.cos(azimuth), strength * 0.3, strength * math.sin(azimuth)


def _exposure(rng: Random, appearance: Appearance, weather: Weather) -> float:
    if appearance == "synthetic":
        return rng.uniform(0.85, 1.15)
    if weather == "dusk":
        return rng.uniform(0.2, 0.42)
    return rng.uniform(0.42, 0.8)


def _sensor(rng: Random, appearance: Appearance, weather: Weather) -> Sensor:
    if appearance == "synthetic":
        return Sensor(0.0, 0.0, 1.0)
    noise = rng.uniform(4.0, 9.0) if weather == "dusk" else rng.uniform(2.0, 6.0)
    return Sensor(rng.uniform(0.001, 0.0025), noise, rng.uniform(0.95, 1.3))


def _synthetic_sky(rng: Random, weather: Weather) -> Sky:
    white = (250.0, 250.0, 250.0)
    if weather == "clear":
        zenith = hsv(rng.uniform(0.54, 0.62), rng.uniform(0.45, 0.85), rng.uniform(0.75, 1.0))
        return Sky(zenith, hsv(rng.uniform(0.5, 0.6), rng.uniform(0.1, 0.35), 0.97), white, rng.uniform(0, 0.7))
    if weather == "overcast":
        zenith = hsv(0.58, rng.uniform(0.02, 0.15), rng.uniform(0.75, 0.95))
        return Sky(zenith, mix(zenith, white, 0.6), white, rng.uniform(0.2, 0.6))
    zenith = hsv(rng.uniform(0.56, 0.68), rng.uniform(0.3, 0.6), rng.uniform(0.6, 0.9))
    horizon = hsv(rng.uniform(0.03, 0.12), rng.uniform(0.3, 0.6), 1.0)
    return Sky(zenith, horizon, (255, 225, 200), rng.uniform(0, 0.5))


def _photo_sky(rng: Random, weather: Weather) -> Sky:
    white = (253.0, 255.0, 255.0)
    if weather == "dusk":
        zenith = hsv(0.55, rng.uniform(0.0, 0.12), rng.uniform(0.3, 0.5))
        return Sky(
            zenith, hsv(0.54, rng.uniform(0.0, 0.1), rng.uniform(0.5, 0.75)), (175, 185, 185), rng.uniform(0.3, 0.9)
        )
    if weather == "clear":
        zenith = hsv(0.55, rng.uniform(0.05, 0.3), rng.uniform(0.88, 1.0))
        return Sky(zenith, white, white, rng.uniform(0.0, 0.6))
    if weather == "sunset":
        return Sky(hsv(0.56, 0.15, 0.85), hsv(0.1, 0.15, 1.0), white, rng.uniform(0.0, 0.5))
    zenith = hsv(0.5, rng.uniform(0.0, 0.06), rng.uniform(0.8, 1.0))
    return Sky(zenith, white, white, rng.uniform(0.0, 0.5))
