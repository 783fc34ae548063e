"""Procedural street scenes with exact labels, in two appearances of one world."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt

from cirn_dist.choices import Appearance
from cirn_dist.data.streets.appearance import draw_look
from cirn_dist.data.streets.backdrop import sky, skyline
from cirn_dist.data.streets.canvas import Brush
from cirn_dist.data.streets.finish import finish
from cirn_dist.data.streets.ground import ground
from cirn_dist.data.streets.layout import Layout
from cirn_dist.data.streets.materials import LABEL_OF
from cirn_dist.data.streets.plan import draw_camera, draw_plan
from cirn_dist.errors import ConfigError
from cirn_dist.seeds import derive

__all__ = ["RENDERER", "Appearance", "render"]

RENDERER = 2  # One more whenever a street's pixels change: a set that was rendered before is then not taken for new.
MIN_SIDE = 16  # Pixels; below, nothing can be told apart.


def render(
    seed: int, index: int, width: int, height: int, appearance: Appearance = "synthetic"
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Render street `index` of a seed: the image (H, W, 3) RGB and its labels (H, W), CamVid's 11 train ids or 255.

    The same arguments give the same bytes, in any process; another size shows the same street.

    Raises:
        ConfigError: a side shorter than 16 pixels.
    """
    if min(width, height) < MIN_SIDE:
        raise ConfigError(f"streets of {width}x{height} pixels", fix=f"make both sides at least {MIN_SIDE}")
    rng = Random(derive("streets", appearance, seed, index))
    look = draw_look(rng, appearance)
    brush = Brush(draw_camera(rng, look, width, height), look)
    plan = draw_plan(rng)
    layout = Layout(brush, rng, plan)
    layout.furnish()
    sky(brush, rng)
    skyline(brush, rng)
    ground(brush, rng, plan)
    brush.cast(layout.shadows(), softness=width / 400)
    layout.paint()
    image, materials = finish(brush.canvas, look, rng)
    return image, LABEL_OF[materials]
