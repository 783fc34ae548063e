"""Stage 1's product: the CIR, X_I = G(X_S) with Y_I = Y_S, as a shard set like any other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from PIL import Image

from cirn_dist.data.decode import CODECS, LOSSY, encode_image
from cirn_dist.data.labels import UInt8Array
from cirn_dist.data.loading.images import read_images, to_arrays
from cirn_dist.data.shards.samples import Entry, entry
from cirn_dist.data.shards.shardset import Sample, ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.errors import TrainingError
from cirn_dist.stages.derived_set import Encode, derive_set, derived_set
from cirn_dist.stages.translate.methods import depends_on, translator
from cirn_dist.stages.translate.ready_made import readymade


def render(run: Run, source: ShardSet, target: ShardSet) -> ShardSet:
    """Translate the whole source set, or take it translated; labels pass through byte for byte.

    A batch never crosses a shard, so any number of ranks writes the same bytes.

    Raises:
        TrainingError: the device's memory does not hold `render.batch` images whole.
    """
    settings = run.config.translate
    if settings.shards is not None:
        return readymade(run, source, settings.shards)
    codec, batch = run.config.data.codec, run.config.render.batch
    made = depends_on(run, target) | {"codec": codec}
    rendered = derived_set(run, "render", source, made)
    if rendered is not None:
        return rendered
    translated = translator(run, target)

    def samples(indices: range) -> Iterator[Encode]:
        for images in read_images(source, indices, batch, run.runtime.device):
            try:
                with torch.inference_mode():
                    outputs = to_arrays(translated(images.pixels, images.indices))
            except torch.cuda.OutOfMemoryError:
                raise TrainingError(
                    f"{len(images.indices)} images of {'x'.join(map(str, images.pixels.shape[:-3:-1]))} do not fit",
                    where="render",
                    fix="set render.batch=1, render.precision=bf16 or, if one is too many, render.tile=512",
                ) from None
            for index, sample, output in zip(images.indices, images.samples, outputs, strict=True):
                kept = {field: data for field, data in sample.items() if not field.startswith("image.")}
                yield partial(_encoded, source.key(index), output, codec, kept)

    return derive_set(run, "render", source, samples, batch=batch, label_space=source.label_space, made=made)


def _encoded(key: str, image: UInt8Array, codec: str, kept: Sample) -> Entry:
    data = encode_image(Image.fromarray(image), codec)
    return entry(key, {CODECS[codec]: data} | kept, image=None if codec in LOSSY else image)
