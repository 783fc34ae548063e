"""The ways from a source image to one that looks like the target; the rest of the pipeline does not know which it was.

The paper's is the generator of stage 1; "CIR can still work well if another appropriate approach is employed", and
two need no training: the colours of a target image, or the low-frequency amplitudes of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from cirn_dist.checkpoint.state import load_component
from cirn_dist.choices import FdaWindow
from cirn_dist.data.loading.images import read_images
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.models.cyclegan import Generator
from cirn_dist.models.tiling import tiled
from cirn_dist.precision import HALF, choose_precision, hardware
from cirn_dist.seeds import derive
from cirn_dist.stages.translate.colours import TargetColours
from cirn_dist.stages.translate.fda import swap_amplitude
from cirn_dist.stages.translate.players import GENERATORS, build_generator

# (images (N, 3, H, W) in [-1, 1], their indices in the source set) -> translated images of the same form
Translator = Callable[[Tensor, Sequence[int]], Tensor]


def depends_on(run: Run, target: ShardSet) -> dict[str, str]:
    """Return what the configured way to the CIR depends on beside the source set: another answer, another CIR."""
    settings, render = run.config.translate, run.config.render
    if settings.method == "cyclegan":
        return {"by": "render", "generator": run.finished("translate").fingerprint, "tile": str(render.tile)}
    drawn = {"by": settings.method, "target": target.fingerprint, "seed": str(run.config.seed)}
    if settings.method == "fda":
        window = {} if settings.fda_window == "symmetric" else {"window": settings.fda_window}
        return drawn | {"beta": str(settings.fda_beta)} | window
    return drawn | {"curve": str(settings.colour_curve), "noise": str(settings.colour_noise)}


def translator(run: Run, target: ShardSet) -> Translator:
    """Return the configured way to the CIR; all ranks call this together."""
    settings = run.config.translate
    if settings.method == "reinhard":
        return TargetColours.measure(run, target).give
    if settings.method == "fda":
        return partial(_swap_with_targets, run, target, settings.fda_beta, settings.fda_window)
    generator = build_generator(settings, run.config.seed, GENERATORS[0])
    load_component(generator, run.finished("translate"), GENERATORS[0])
    return Rendering(run, generator, TargetColours.measure(run, target) if settings.colour_match else None)


class Rendering:
    """A generator on whole images or tiles, in the precision of rendering; a `Translator`.

    Args:
        generator: G: S -> T, which is moved to the device.
        colours: those a source image is given before, where stage 1 trained with them.
    """

    def __init__(self, run: Run, generator: Generator, colours: TargetColours | None) -> None:
        self.run, self.colours = run, colours
        self.generator = generator.to(run.runtime.device).eval().requires_grad_(False)

    def __call__(self, pixels: Tensor, indices: Sequence[int]) -> Tensor:
        """Translate images of these indices in the source set."""
        if self.colours is not None:
            pixels = self.colours.give(pixels, indices)
        tile = self.run.config.render.tile
        with _autocast(self.run):
            images = self.generator(pixels) if tile is None else tiled(self.generator, pixels, tile)
        return images.float()


def _swap_with_targets(
    run: Run, target: ShardSet, beta: float, window: FdaWindow, pixels: Tensor, indices: Sequence[int]
) -> Tensor:
    """Give each source image the low frequencies of a target image that its index and the seed draw."""
    drawn = [derive(run.config.seed, "fda", int(index)) % len(target) for index in indices]
    references = [images.pixels for images in read_images(target, drawn, 1, pixels.device)]
    size = pixels.shape[-2:]
    fitted = [F.interpolate(one, size, mode="bilinear", antialias=True).clamp(-1, 1) for one in references]
    return swap_amplitude(pixels, torch.cat(fitted), beta, window)


def _autocast(run: Run) -> contextlib.AbstractContextManager[object]:
    wanted = run.config.render.precision
    if wanted is None:
        return run.runtime.autocast()
    dtype = HALF.get(choose_precision(wanted, hardware(run.runtime.device)))
    return torch.autocast(run.runtime.device.type, dtype, enabled=dtype is not None)
