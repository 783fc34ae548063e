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
    """Relative brightness of every pixel from the texture of its material; shape (H, W)."""
    height, width = materials.shape
    grain, mottle, blotch = texture_table(look.appearance)
    gain = grain[materials] * crop("grain", height, width, rng)
    gain += mottle[materials] * stretched("mottle", height, width, rng)
    gain += blotch[materials] * stretched("blotch", height, width, rng)
    return gain + np.float32(1)


def sense(colours: Field, look: Look, rng: Random) -> UInt8Array:
    """Blur, noise and response of the sensor; (H, W, 3) grey levels 0..255 in and out."""
    sensor = look.sensor
    image = np.clip(colours, 0, 255).astype(np.uint8)
    if not sensor.blur:
        return image
    height, width = image.shape[:2]
    soft = Image.fromarray(image).filter(ImageFilter.GaussianBlur(sensor.blur * width))
    noise = crop("grain", height, width, rng) * np.float32(sensor.noise)
    noisy = np.asarray(soft, np.float32) + noise[:, :, None]
    response = (np.linspace(0, 1, 256, dtype=np.float64) ** sensor.gamma * 255).round().astype(np.uint8)
    return response[np.clip(noisy, 0, 255).astype(np.uint8)]


def finish(canvas: Image.Image, look: Look, rng: Random) -> tuple[UInt8Array, UInt8Array]:
    """Develop the canvas; returns the image (H, W, 3) and the material of every pixel (H, W)."""
    pixels = np.asarray(canvas)
    materials = pixels[:, :, 3]
    colours = pixels[:, :, :3] * texture(materials, look, rng)[:, :, None]
    return sense(colours, look, rng), materials
