"""Predicting many image files: which ones, where their predictions go, and doing it without the network waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from cirn_dist.data.pack.list_file import IMAGE_SUFFIXES
from cirn_dist.data.pack.walk import Walks
from cirn_dist.data.workers.threads import map_ahead
from cirn_dist.errors import DataError
from cirn_dist.files import atomic
from cirn_dist.inference.load import Prediction, TrainedSegmenter
from cirn_dist.inference.pictures import Pixels, read_pixels

KINDS = ("ids", "colour", "overlay", "confidence")  # each a folder of PNGs
_AHEAD = 3  # batches that are read before they are needed, and that may wait to be written


@dataclass(frozen=True)
class Job:
    """An image file, and the name its predictions have below each kind's folder."""

    image: Path
    name: Path


@dataclass
class Done:
    """What became of some files: how many were predicted, and those that could not be read."""

    predicted: int = 0
    damaged: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, parts: Iterable[Done]) -> Done:
        """Put what several processes have done together, the damaged files by name."""
        parts = list(parts)
        damaged = sorted((one for part in parts for one in part.damaged), key=lambda one: one["file"])
        return cls(sum(part.predicted for part in parts), damaged)


def jobs(arguments: Sequence[str]) -> list[Job]:
    """Return the image files that files, folders and patterns stand for; a folder's keep their places below it.

    Raises:
        DataError: nothing is found, or two images would have predictions of one name.
    """
    found: list[Job] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            images = [file for file in Walks().files(path) if file.suffix.lower() in IMAGE_SUFFIXES]
            found += [Job(file, file.relative_to(path).with_suffix(".png")) for file in images]
        elif path.exists():
            images = [path]
            found.append(Job(path, Path(path.stem + ".png")))
        else:
            images = sorted(file for file in Path().glob(argument) if file.is_file()) if "*" in argument else []
            found += [Job(file, Path(file.stem + ".png")) for file in images]
        if not images:
            raise DataError("no image there", where=argument, fix=f"images end in {', '.join(IMAGE_SUFFIXES)}")
    seen: dict[Path, Path] = {}
    for job in found:
        if (other := seen.setdefault(job.name, job.image)) != job.image:
            what = f"its prediction would be called {job.name}, as that of {other}"
            raise DataError(what, where=job.image, fix="predict them into two folders")
    return [Job(image, name) for name, image in seen.items()]


def assert_free(out: Path, names: Iterable[Path], kinds: Sequence[str]) -> None:
    """Check that nothing would be overwritten.

    Raises:
        DataError: names the first file that is there, and how many there are.
    """
    there = [out / kind / name for name in names for kind in kinds if (out / kind / name).exists()]
    if there:
        fix = "choose another folder, or insist with --overwrite"
        raise DataError(f"is there already, and {len(there) - 1:,} others", where=there[0], fix=fix)


def predict_files(
    net: TrainedSegmenter,
    todo: Sequence[Job],
    out: Path,
    kinds: Sequence[str],
    *,
    batch: int = 1,
    size: tuple[int, int] | None = None,
    window: tuple[int, int] | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Done:
    """Predict image files into folders of PNGs; threads read ahead and write behind, so that the network works on.

    Args:
        kinds: of KINDS: ids (8-bit), colour, overlay, confidence (16-bit grey, 65535 is 1).
        batch: images of one size in a forward pass.
        size, window: what the network sees of an image; see `TrainedSegmenter.predict`.

    Raises:
        DataError: `out` cannot be written.
    """
    done = Done()
    for name in {job.name.parent for job in todo}:
        for kind in kinds:
            (out / kind / name).mkdir(parents=True, exist_ok=True)
    ahead = _AHEAD * batch + workers

    def predicted() -> Iterator[tuple[_Read, Tensor]]:
        read = map_ahead(lambda job: _read(net, job, size, window), todo, threads=workers, ahead=ahead)
        for group in _groups(read, batch, done):
            yield from zip(group, net.logits([one.seen for one in group], window=window), strict=True)
            done.predicted += len(group)
            if progress is not None:
                progress(done.predicted + len(done.damaged), len(todo))

    for _ in map_ahead(lambda one: _write(net, out, *one, kinds), predicted(), threads=workers, ahead=ahead):
        pass
    return done


@dataclass(frozen=True)
class _Read:
    """An image file's pixels, (H, W, 3), and what the network sees of them."""

    job: Job
    pixels: Pixels
    seen: Pixels


@dataclass(frozen=True)
class _Damaged:
    job: Job
    reason: str


def _read(
    net: TrainedSegmenter, job: Job, size: tuple[int, int] | None, window: tuple[int, int] | None
) -> _Read | _Damaged:
    """Read a file's image, in a thread, or say why there is none."""
    try:
        pixels = read_pixels(job.image)
    except DataError as error:
        return _Damaged(job, error.what)
    return _Read(job, pixels, net.seen(pixels, size, window))


def _groups(read: Iterable[_Read | _Damaged], batch: int, done: Done) -> Iterator[list[_Read]]:
    """Yield up to `batch` images that the network sees at one size; what could not be read is noted in `done`."""
    group: list[_Read] = []
    for one in read:
        if isinstance(one, _Damaged):
            done.damaged.append({"file": str(one.job.image), "reason": one.reason})
            continue
        if group and (len(group) == batch or one.seen.shape != group[-1].seen.shape):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _write(net: TrainedSegmenter, out: Path, image: _Read, logits: Tensor, kinds: Sequence[str]) -> None:
    """Decide and write, in a thread: at an image's own size that is a good part of a small network's time."""
    found = net.decide(logits, image.pixels.shape[:2])
    for kind in kinds:
        with atomic(out / kind / image.job.name) as file:
            _picture(kind, image.pixels, found).save(file, "PNG", compress_level=1)


def _picture(kind: str, pixels: Pixels, found: Prediction) -> Image.Image:
    if kind == "ids":
        return Image.fromarray(found.ids)
    if kind == "colour":
        return found.coloured()
    if kind == "overlay":
        return found.overlay(pixels)
    return Image.fromarray(np.rint(found.confidence * 65535).astype(np.uint16))
