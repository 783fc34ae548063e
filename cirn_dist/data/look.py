"""Some images of a set with their labels, raw or packed: enough to see that the label space is the right one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cirn_dist.data.decode import open_image
from cirn_dist.data.label_files import open_label
from cirn_dist.data.labels import IGNORE, LabelSpace, UInt8Array
from cirn_dist.data.loading.images import spread_over
from cirn_dist.data.pack.encode import Encoder
from cirn_dist.data.pack.raw_files import find
from cirn_dist.data.pack.recipes import load_recipe
from cirn_dist.data.shards.samples import LeftOut
from cirn_dist.data.shards.shardset import LABEL, ShardSet, packed_at
from cirn_dist.errors import ConfigError, DataError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Seen:
    """One image and its label.

    Attributes:
        source: where it is from, below the raw folder.
        image: RGB, (H, W, 3).
        label: train ids, (h, w); None without labels.
    """

    source: str
    image: UInt8Array
    label: UInt8Array | None

    @property
    def size(self) -> str:
        """Width and height."""
        return f"{self.image.shape[1]}x{self.image.shape[0]}"

    def drawn_over(self, space: LabelSpace, share: float = 0.6) -> Image.Image:
        """Return the image with the classes' colours over it; pixels without a class stay as they are."""
        if self.label is None:
            return Image.fromarray(self.image)
        height, width = self.image.shape[:2]
        label = np.asarray(Image.fromarray(self.label).resize((width, height), Image.Resampling.NEAREST))
        mixed = share * space.colour(label) + (1 - share) * self.image
        return Image.fromarray(np.where((label == IGNORE)[..., None], self.image, np.rint(mixed)).astype(np.uint8))


@dataclass(frozen=True)
class Look:
    """What was seen of a set.

    Attributes:
        name: of the set or recipe, with the split.
        total: images there are.
        seen: those that were looked at, evenly spread over the set.
        faults: source -> what is wrong with its image or label.
        space: of the labels; None without.
        notes: what packing would tell of the folder.
    """

    name: str
    total: int
    seen: tuple[Seen, ...]
    faults: Mapping[str, str]
    space: LabelSpace | None
    notes: tuple[str, ...]

    @property
    def sizes(self) -> Counter[str]:
        """Images by width and height."""
        return Counter(one.size for one in self.seen)

    @property
    def pixels(self) -> dict[str, float]:
        """Share of all labelled images' pixels by class, then "ignored"; empty without labels."""
        counts = self._counts().sum(0)
        return self._named(counts / max(counts.sum(), 1))

    @property
    def images(self) -> dict[str, int]:
        """Number of images by class that have a pixel of it, then "ignored"; empty without labels."""
        return {name: int(number) for name, number in self._named((self._counts() > 0).sum(0)).items()}

    def odd(self) -> list[tuple[str, Seen]]:
        """Return images that are worth a look first, each with what it is first in."""
        if not self.seen:
            return []
        measures: dict[str, Callable[[Seen], float]] = {
            "brightest": lambda one: float(one.image.mean()),
            "darkest": lambda one: -float(one.image.mean()),
        }
        if len(self.sizes) > 1:
            measures |= {"smallest": lambda one: -one.image.size, "largest": lambda one: one.image.size}
        if self.space is not None:
            measures |= {
                "most without a class": lambda one: float(self._shares(one)[-1]),
                "most of one class": lambda one: float(self._shares(one)[:-1].max()),
                "fewest classes": lambda one: -int((self._shares(one)[:-1] > 0).sum()),
                "most classes": lambda one: int((self._shares(one)[:-1] > 0).sum()),
            }
        return [(name, max(self.seen, key=measure)) for name, measure in measures.items()]

    def _shares(self, one: Seen) -> npt.NDArray[np.float64]:
        """Return the shares of an image's pixels by class, the last those without one."""
        assert self.space is not None
        classes = self.space.num_classes
        counts = np.zeros(classes + 1)
        if one.label is not None:
            every = np.bincount(one.label.ravel(), minlength=256)
            counts[:classes], counts[classes] = every[:classes], every[classes:].sum()
        shares: npt.NDArray[np.float64] = counts / max(counts.sum(), 1)
        return shares

    def _counts(self) -> npt.NDArray[np.float64]:
        """Return pixels by image and class, (N, C + 1)."""
        if self.space is None:
            return np.zeros((0, 0))
        return np.stack([self._shares(one) * (0 if one.label is None else one.label.size) for one in self.seen])

    def _named(self, values: npt.NDArray[Any]) -> dict[str, Any]:
        return {} if self.space is None else dict(zip((*self.space.classes, "ignored"), values.tolist(), strict=True))


def look(
    data: Path | None,
    count: int,
    *,
    recipe: str | None = None,
    split: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Look:
    """Read some images of a set.

    Args:
        data: a packed set, a folder with one per split, or a raw folder; None for rendered images.
        count: of images, evenly spread over the set.
        recipe: of a raw folder.
        split: of a raw folder, "train" by default; of a folder of packed sets.
        options: replace recipe values.

    Raises:
        DataError: nothing is there.
        ConfigError: the recipe is missing or cannot be used.
    """
    packed = packed_at(data, split)
    found = _packed(packed, count) if packed else _raw(data, count, recipe, split or "train", options or {})
    seen: list[Seen] = []
    faults: dict[str, str] = {}
    for done, one in enumerate(found.samples):
        if isinstance(one, Seen):
            seen.append(one)
        else:
            faults[one.source] = one.reason
        if progress is not None:
            progress(done + 1, min(count, found.total))
    return Look(found.name, found.total, tuple(seen), faults, found.space, found.notes)


@dataclass(frozen=True)
class _Found:
    name: str
    total: int
    samples: Iterator[Seen | LeftOut]
    space: LabelSpace | None
    notes: tuple[str, ...]


def _packed(path: Path, count: int) -> _Found:
    shards = ShardSet.open(path)

    def samples() -> Iterator[Seen | LeftOut]:
        for index in spread_over(len(shards), count):
            source = f"sample {index}"
            try:
                sample = shards.read(index)
                source = json.loads(sample["json"])["source"] if "json" in sample else source
                label = open_label(sample[LABEL]) if shards.has_labels else None
                yield Seen(source, np.asarray(open_image(sample[shards.image_field])), label)
            except DataError as error:
                yield LeftOut(source, error.what)

    return _Found(shards.name, len(shards), samples(), shards.label_space, tuple(shards.meta.get("notes", ())))


def _raw(data: Path | None, count: int, recipe: str | None, split: str, options: Mapping[str, Any]) -> _Found:
    if recipe is None:
        fix = "say how a raw folder is read: --recipe, a file or a name of shards/"
        raise ConfigError("is no packed set", where=data, fix=fix)
    how = load_recipe(recipe, options, split)
    found = find(how, data, split, None)
    encoder = Encoder(how, found.form, found.labels, None, "original", "png", bool(how.split(split).published))

    def samples() -> Iterator[Seen | LeftOut]:
        for place in spread_over(len(found.items), count):
            item = found.items[place]
            try:
                one = encoder.read(item)
            except DataError as error:
                yield LeftOut(item.source, f"{error.what}{f'; {error.fix}' if error.fix else ''}")
            else:
                yield one if isinstance(one, LeftOut) else Seen(item.source, np.asarray(one[0]), one[1])

    return _Found(f"{how.name}-{split}", len(found.items), samples(), how.space if found.labels else None, found.notes)
