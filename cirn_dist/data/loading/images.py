"""Reading a shard set once, image by image: for rendering, pseudo labels, scores and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from cirn_dist.data.labels import UInt8Array
from cirn_dist.data.loading.transforms import decode_image, decode_label
from cirn_dist.data.shards.shardset import LABEL, Sample, ShardSet
from cirn_dist.data.shards.sizes import assert_fits, kept_size
from cirn_dist.data.workers.threads import map_ahead
from cirn_dist.errors import CorruptSample


@dataclass(frozen=True)
class Images:
    """Some images of a shard set of one size.

    Attributes:
        shards: the set.
        indices: their places in the set.
        samples: their fields as stored.
        arrays: their images as decoded, each (H, W, 3) uint8.
        pixels: the same as a network takes them, float32 (N, 3, H, W) in [-1, 1].
    """

    shards: ShardSet
    indices: Sequence[int]
    samples: Sequence[Sample]
    arrays: Sequence[UInt8Array]
    pixels: Tensor


def read_images(shards: ShardSet, indices: Sequence[int], batch: int, device: torch.device) -> Iterator[Images]:
    """Read the images at `indices`, in order, `batch` at a time; a change of size starts a new batch.

    Threads decode the next two batches meanwhile.

    Raises:
        CorruptSample: an image that cannot be read or decoded.
    """

    def decoded(index: int, sample: Sample) -> tuple[int, Sample, UInt8Array]:
        try:
            return index, sample, decode_image(sample[shards.image_field])
        except CorruptSample as error:
            raise shards.corrupt(index, error.what, shards.image_field) from error

    group: list[tuple[int, Sample, UInt8Array]] = []

    def images() -> Images:
        places, samples, arrays = zip(*group, strict=True)
        return Images(shards, places, samples, arrays, to_tensor(arrays, device))

    stored = ((index, shards.read(index)) for index in indices)
    for one in map_ahead(lambda item: decoded(*item), stored, threads=2, ahead=2 * batch):
        if group and (len(group) == batch or one[2].shape != group[0][2].shape):
            yield images()
            group = []
        group.append(one)
    if group:
        yield images()


def batches(shards: ShardSet, size: int) -> list[range]:
    """Return all indices, `size` at a time and never across a shard: the same batches however they are dealt."""
    found, start = [], 0
    for length in shards.shard_sizes:
        found += [range(at, min(at + size, start + length)) for at in range(start, start + length, size)]
        start += length
    return found


def label_of(images: Images, at: int, table: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """Return the train ids of the sample at place `at`, (H, W), through a table of `relabelling` if there is one.

    Raises:
        CorruptSample: it cannot be decoded, or its size is neither the image's nor what that was before packing.
    """
    sample = images.samples[at]
    try:
        label = decode_label(sample[LABEL])
        assert_fits(images.pixels.shape[-2:], label.shape, kept_size(images.shards, sample))
    except CorruptSample as error:
        raise images.shards.corrupt(images.indices[at], error.what, LABEL) from error
    return label if table is None else table[label]


def spread_over(total: int, count: int) -> list[int]:
    """Return `count` indices evenly spread over range(total)."""
    return sorted({int(i) for i in np.linspace(0, total - 1, min(count, total)).round()})


def to_image(pixels: Tensor) -> Image.Image:
    """Return an image tensor (3, H, W) in [-1, 1] as an 8-bit RGB image."""
    return Image.fromarray(to_arrays(pixels[None])[0])


def to_arrays(pixels: Tensor) -> UInt8Array:
    """Return images (N, 3, H, W) in [-1, 1] as 8-bit RGB, (N, H, W, 3)."""
    scaled = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_tensor(arrays: Sequence[npt.NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Return RGB images of one size, each (H, W, 3) uint8, as a network takes them: float32 (N, 3, H, W) in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(device)
    return stacked.float().div_(127.5).sub_(1.0).contiguous()
