"""From the painted canvas to a picture: surface texture, then the sensor."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from cirn_dist.data.streets.appearance import Look
from cirn_dist.data.streets.materials import texture_table
from cirn_dist.data.streets.noise import Field, crop, stretched

UInt8Array = npt.NDArray[np.uint8]


def texture(materials: UInt8Array, look: Look, rng: Random) -> Field:
    """Relative brightness of every pixel, 0 to 2, from the texture of its material; shape (H, W)."""
    height, width = materials.shape
    grain, mottle, blotch = texture_table(look.appearance)
    gain: Field = grain[materials] * crop("grain", height, width, rng)
    gain += mottle[materials] * stretched("mottle", height, width, rng)
    gain += blotch[materials] * stretched("blotch", height, width, rng)
    gain += 1
    np.clip(gain, 0, 2, out=gain)
    return gain


def apply(gain: Field, colours: UInt8Array) -> UInt8Array:
    """Multiply colours (H, W, 3) by a gain in 0..2 (H, W)."""
    # Fixed point: 255 * 256 fits 16 bits, and this is several times faster than floats.
    fixed = (gain * np.float32(128)).astype(np.uint16)
    bright = colours.astype(np.uint16)
    bright *= fixed[:, :, None]
    bright >>= 7
    return np.minimum(bright, 255, out=bright).astype(np.uint8)


def sense(image: UInt8Array, look: Look, rng: Random) -> UInt8Array:
    """Blur, noise and response of the sensor; (H, W, 3) in and out."""
    sensor = look.sensor
    if not sensor.blur:
        return image
    height, width = image.shape[:2]
    response = [round(255 * (level / 255) ** sensor.gamma) for level in range(256)]
    soft = Image.fromarray(image).filter(ImageFilter.BoxBlur(sensor.blur * width)).point(response * 3)
    noise = (crop("grain", height, width, rng) * np.float32(sensor.noise)).round().astype(np.int16)
    noisy = np.asarray(soft).astype(np.int16)
    noisy += noise[:, :, None]
    return noisy.clip(0, 255, out=noisy).astype(np.uint8)


def finish(canvas: Image.Image, look: Look, rng: Random) -> tuple[UInt8Array, UInt8Array]:
    """Develop the canvas; returns the image (H, W, 3) and the material of every pixel (H, W)."""
    pixels = np.asarray(canvas)
    materials = pixels[:, :, 3]
    textured = apply(texture(materials, look, rng), pixels[:, :, :3])
    return sense(textured, look, rng), materials
