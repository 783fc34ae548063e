"""Stage 1's product: the CIR, X_I = G(X_S) with Y_I = Y_S, as a shard set like any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from cirn_dist.checkpoint.state import load_component
from cirn_dist.data.decode import CODECS, encode_image
from cirn_dist.data.index import Sample, ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.stages.colours import TargetColours
from cirn_dist.stages.derived import derive_set, derived_set
from cirn_dist.stages.images import read_images
from cirn_dist.stages.translate import build_generator


def render(run: Run, source: ShardSet, target: ShardSet) -> ShardSet:
    """Translate the whole source set; labels pass through byte for byte."""
    trained, codec = run.finished("translate"), run.config.data.codec
    made = {"by": "render", "generator": trained.fingerprint, "codec": codec}
    existing = derived_set(run, "render", source, made)
    if existing is not None:
        return existing

    generator = build_generator(run, "generator_s2t")
    load_component(generator, trained, "generator_s2t")
    generator.to(run.runtime.device).eval().requires_grad_(False)
    colours = TargetColours.measure(run, target) if run.config.translate.colour_match else None

    @torch.inference_mode()
    def translated(pixels: Tensor, indices: Sequence[int]) -> Tensor:
        if colours is not None:
            pixels = colours.give(pixels, indices)
        with run.runtime.autocast():
            images: Tensor = generator(pixels)
        return images.float()

    def samples(indices: range) -> Iterator[tuple[str, Sample]]:
        for images in read_images(source, indices, run.config.render.batch, run.runtime.device):
            outputs = translated(images.pixels, images.indices)
            for index, sample, output in zip(images.indices, images.samples, outputs, strict=True):
                kept = {field: data for field, data in sample.items() if not field.startswith("image.")}
                yield source.key(index), {CODECS[codec]: encode_image(to_image(output), codec)} | kept

    return derive_set(run, "render", source, samples, label_space=source.label_space, made=made)


def to_image(pixels: Tensor) -> Image.Image:
    """Return an image tensor (3, H, W) in [-1, 1] as an 8-bit RGB image."""
    scaled = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(scaled.permute(1, 2, 0).cpu().numpy())
