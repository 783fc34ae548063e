"""How fast a shard set can be read here, beside the bare decoders and webdataset's own iterator."""

from __future__ import annotations

import io
import itertools
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from torch.nn import functional

from cirn_dist.data.decode import open_image
from cirn_dist.data.loading.plan import Plan
from cirn_dist.data.loading.stream import Stream, loader
from cirn_dist.data.loading.transforms import SegmentationTransform, decode_label
from cirn_dist.data.shards.shardset import LABEL, ShardSet
from cirn_dist.seeds import uniforms

_FAR = 10**8


@dataclass(frozen=True)
class Bench:
    """Rates in images/s of one process on one thread, unless said; latencies in seconds.

    Args:
        machine: processor, cores, versions.
        image: width x height and format of the images.
        pillow: images (and labels) already in memory, only decoded and resized.
        torchvision: the same with torchvision's JPEG decoder; None for other formats.
        stream: read, check, decode, resize, augment, as training does.
        webdataset: the same work behind webdataset's iterator.
        loader: images/s of the whole loader, per worker process, by number of workers.
        first_at_0: opening the set and its first sample at k = 0.
        first_at_1e8: the same at k = 100,000,000.
        samples: in the set.
    """

    machine: str
    image: str
    pillow: float
    torchvision: float | None
    stream: float
    webdataset: float
    loader: Mapping[int, float]
    first_at_0: float
    first_at_1e8: float
    samples: int

    @property
    def share(self) -> float:
        """The stream's rate as a share of the fastest bare decoder's."""
        return self.stream / max(self.pillow, self.torchvision or 0.0)


def bench_data(
    path: str | Path,
    *,
    seconds: float = 3.0,
    workers: Iterable[int] = (1, 2),
    transform: SegmentationTransform | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bench:
    """Measure a shard set.

    Args:
        path: the set's folder.
        seconds: how long each measurement runs.
        workers: numbers of loader processes to try.
        transform: what training does with a sample; by default CLAN's scales and a mirror.
        progress: called with (measurements done, measurements in all).

    Raises:
        DataError: no complete set there, or too many bad samples.
    """
    counts, threads = list(workers), torch.get_num_threads()
    transform = transform or SegmentationTransform(mirror=True, scales=(0.8, 1.0, 1.1))
    steps = itertools.count(1)

    def done() -> None:
        if progress:
            progress(next(steps), 5 + len(counts))

    torch.set_num_threads(1)
    try:
        first_at_0, first_at_far = _first(path, transform, 0), _first(path, transform, _FAR)
        done()
        shards = ShardSet.open(path)
        samples = [shards.read(i) for i in range(min(len(shards), 64))]
        pillow = _rate(seconds, _repeat(samples, _bare(_pillow, shards.image_field, transform.scales)))
        done()
        jpeg, bare = _torchvision() if shards.image_field == "image.jpg" else None, None
        if jpeg is not None:
            bare = _rate(seconds, _repeat(samples, _bare(jpeg, shards.image_field, transform.scales)))
        done()
        stream = Stream(shards, transform, seed=0, name="bench")
        streamed = _rate(seconds, map(stream.__getitem__, itertools.count()))
        done()
        iterated = _rate(seconds, _webdataset(shards, transform))
        done()
        rates = {}
        for count in counts:
            rates[count] = _loader_rate(stream, count, seconds) / max(count, 1)
            done()
    finally:
        torch.set_num_threads(threads)
    with Image.open(io.BytesIO(samples[0][shards.image_field])) as image:
        description = f"{image.width}x{image.height} {image.format}" + (" with labels" if shards.has_labels else "")
    return Bench(
        machine=f"{machine()}, webdataset {webdataset.__version__}",
        image=description,
        pillow=pillow,
        torchvision=bare,
        stream=streamed,
        webdataset=iterated,
        loader=rates,
        first_at_0=first_at_0,
        first_at_1e8=first_at_far,
        samples=len(shards),
    )


def _first(path: str | Path, transform: SegmentationTransform, k: int) -> float:
    start = time.perf_counter()
    Stream(ShardSet.open(path), transform, seed=0, name="bench")[k]
    return time.perf_counter() - start


def _rate(seconds: float, work: Iterable[Any]) -> float:
    """Count what an endless iterable yields per second, after one to warm up."""
    iterator = iter(work)
    next(iterator)
    start, count = time.perf_counter(), 0
    for _ in iterator:
        count += 1
        if time.perf_counter() - start >= seconds:
            break
    return count / (time.perf_counter() - start)


def _repeat(samples: list[dict[str, bytes]], work: Callable[[dict[str, bytes]], Any]) -> Iterable[Any]:
    return map(work, itertools.cycle(samples))


def _bare(decode: Callable[[bytes], torch.Tensor], field: str, scales: tuple[float, ...]) -> Callable[..., None]:
    """Return what no loader can do without: decode, resize, and decode the label."""
    scale = itertools.cycle(scales)

    def work(sample: Mapping[str, bytes]) -> None:
        pixels, factor = decode(sample[field])[None], next(scale)
        if factor != 1.0:
            size = [round(length * factor) for length in pixels.shape[2:]]
            functional.interpolate(pixels, size, mode="bicubic", antialias=True)
        if LABEL in sample:
            decode_label(sample[LABEL])

    return work


def _pillow(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(open_image(data))).permute(2, 0, 1)


def _torchvision() -> Callable[[bytes], torch.Tensor] | None:
    """Return torchvision's JPEG decoder while it has one: it was announced for removal in 0.29."""
    try:
        from torchvision.io import decode_jpeg
    except ImportError:
        return None

    def decode(data: bytes) -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pixels: torch.Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
            return pixels

    return decode


def _webdataset(shards: ShardSet, transform: SegmentationTransform) -> Iterable[Any]:
    tars = [str(shards.path / shard["name"]) for shard in shards.shards]
    draws = uniforms(transform.draws, "bench")
    while True:
        for sample in webdataset.WebDataset(tars, shardshuffle=False, empty_check=False):
            yield transform({field: sample[member] for field, member in shards.meta["members"].items()}, draws)


def _loader_rate(stream: Stream, workers: int, seconds: float) -> float:
    batches = loader({"bench": stream}, Plan(1), first_step=0, last_step=10**9, workers=workers)
    return _rate(seconds, batches)


def machine() -> str:
    """Return the processor, its cores and PyTorch's version."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{names[0]} ({len(names)} cores)" if names else platform.processor()
    return f"{processor}, torch {torch.__version__}"
