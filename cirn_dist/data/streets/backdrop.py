"""What closes the view: the sky and the far skyline."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image

from cirn_dist.data.streets.appearance import hsv
from cirn_dist.data.streets.canvas import Brush
from cirn_dist.data.streets.materials import Material
from cirn_dist.data.streets.noise import stretched
from cirn_dist.data.streets.vegetation import leaf_paint

_FAR = 140.0  # Metres to the skyline.


def sky(brush: Brush, rng: Random) -> None:
    """Cover the whole canvas with a vertical gradient and clouds."""
    camera, look = brush.camera, brush.look.sky
    rows = np.clip(np.arange(camera.height) / max(camera.horizon, 1.0), 0, 1)[:, None, None]
    column = np.array(look.zenith) * (1 - rows) + np.array(look.horizon) * rows  # (H, 1, 3)
    size = brush.canvas.size
    brush.canvas.paste(Image.fromarray(column.astype(np.uint8)).resize(size))
    cover = np.clip(stretched("blotch", camera.height, camera.width, rng) * 0.8 + 0.1, 0, 1) * (255 * look.cover)
    red, green, blue = (int(channel) for channel in look.cloud)
    brush.canvas.paste((red, green, blue, 255), (0, 0), Image.fromarray(cover.astype(np.uint8)))
    brush.canvas.putalpha(int(Material.SKY))


def skyline(brush: Brush, rng: Random) -> None:
    """Draw distant roofs and treetops along the horizon."""
    camera = brush.camera
    half_view = camera.width / camera.focal * _FAR
    x = -half_view
    while x < half_view:
        width, height = rng.uniform(4, 22), abs(rng.gauss(0, 6)) + 2
        if rng.random() < 0.5:
            tower = [(x, -1.0, _FAR), (x + width, -1.0, _FAR), (x + width, height, _FAR), (x, height, _FAR)]
            brush.face(tower, hsv(rng.random(), 0.2, rng.uniform(0.4, 0.75)), Material.WALL, 0.9)
        else:
            clump, paint = brush.sprite(x, _FAR), leaf_paint(rng)
            for _ in range(6):
                at = (rng.uniform(0, width), rng.uniform(0.2, 0.7) * height)
                clump.disc(at, width * rng.uniform(0.15, 0.35), paint, Material.FOLIAGE, rng.uniform(0.8, 1.05))
        x += width * rng.uniform(0.6, 1.1)
