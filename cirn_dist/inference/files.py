"""Predicting many image files: which ones, where their predictions go, and doing it without the network waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from cirn_dist.data.pack.list_file import IMAGE_SUFFIXES
from cirn_dist.data.pack.walk import Walks
from cirn_dist.errors import DataError
from cirn_dist.files import atomic
from cirn_dist.inference.load import Prediction, TrainedSegmenter
from cirn_dist.inference.pictures import Pixels, input_size, read_pixels

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
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Done:
    """Predict image files into folders of PNGs; threads read ahead and write behind, so that the network works on.

    Args:
        kinds: of KINDS: ids (8-bit), colour, overlay, confidence (16-bit grey, 65535 is 1).
        batch: images of one size in a forward pass.
        size: width and height that the network sees; as it was trained by default.

    Raises:
        DataError: `out` cannot be written.
    """
    done = Done()
    for name in {job.name.parent for job in todo}:
        for kind in kinds:
            (out / kind / name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as writers:
        writing: deque[Future[None]] = deque()
        for group in _groups(_read_ahead(readers, todo, _AHEAD * batch + workers), net.size, size, batch, done):
            images = [pixels for _, pixels in group]
            for (job, pixels), found in zip(group, net.predict_all(images, size=size), strict=True):
                writing.append(writers.submit(_write, out, job.name, kinds, pixels, found))
            while len(writing) > _AHEAD * batch + workers:
                writing.popleft().result()
            done.predicted += len(group)
            if progress is not None:
                progress(done.predicted + len(done.damaged), len(todo))
        for future in writing:
            future.result()
    return done


def _read_ahead(pool: ThreadPoolExecutor, todo: Sequence[Job], ahead: int) -> Iterator[tuple[Job, Pixels | DataError]]:
    """Yield the files' pixels in order, or why there are none, while `ahead` of them are being read."""
    waiting: deque[tuple[Job, Future[Pixels | DataError]]] = deque()
    for job in todo:
        waiting.append((job, pool.submit(_read, job.image)))
        if len(waiting) > ahead:
            first, pixels = waiting.popleft()
            yield first, pixels.result()
    for job, pixels in waiting:
        yield job, pixels.result()


def _read(file: Path) -> Pixels | DataError:
    try:
        return read_pixels(file)
    except DataError as error:
        return error


def _groups(
    read: Iterable[tuple[Job, Pixels | DataError]],
    trained: tuple[int, int],
    size: tuple[int, int] | None,
    batch: int,
    done: Done,
) -> Iterator[list[tuple[Job, Pixels]]]:
    """Yield up to `batch` images that the network sees at one size; what could not be read is noted in `done`."""
    group: list[tuple[Job, Pixels]] = []
    last: tuple[int, int] | None = None
    for job, pixels in read:
        if isinstance(pixels, DataError):
            done.damaged.append({"file": str(job.image), "reason": pixels.what})
            continue
        seen = size or input_size((pixels.shape[1], pixels.shape[0]), trained)
        if group and (len(group) == batch or seen != last):
            yield group
            group = []
        group.append((job, pixels))
        last = seen
    if group:
        yield group


def _write(out: Path, name: Path, kinds: Sequence[str], pixels: Pixels, found: Prediction) -> None:
    for kind in kinds:
        with atomic(out / kind / name) as file:
            _picture(kind, pixels, found).save(file, "PNG", compress_level=1)


def _picture(kind: str, pixels: Pixels, found: Prediction) -> Image.Image:
    if kind == "ids":
        return Image.fromarray(found.ids)
    if kind == "colour":
        return found.coloured()
    if kind == "overlay":
        return found.overlay(pixels)
    return Image.fromarray(np.rint(found.confidence * 65535).astype(np.uint16))
