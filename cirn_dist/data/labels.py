"""Label spaces: class names, palettes, subsets, and the maps from each dataset's own ids to train ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cirn_dist.config.groups.data import OwnSpace
from cirn_dist.errors import ConfigError, nearest

IGNORE = 255
UInt8Array = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace:
    """The classes a label map may hold; pixel value i is classes[i], 255 is ignored.

    Args:
        name: how configurations and shard sets call it.
        classes: class names, in train id order.
        palette: one RGB colour per class.
        subsets: named groups of train ids that published tables average over.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    subsets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def ids(self, names: Iterable[str], where: str | None = None) -> list[int]:
        """Return the train ids of some classes, in their order.

        Args:
            where: the setting that names them, where it is known.

        Raises:
            ConfigError: a class that there is not.
        """
        found = []
        for name in names:
            if name not in self.classes:
                raise ConfigError(f"{self.name} has no class {name!r}", where=where, fix=nearest(name, self.classes))
            found.append(self.classes.index(name))
        return found

    def is_same(self, other: LabelSpace) -> bool:
        """Whether train ids mean the same: name and classes; palette and subsets are for reports."""
        return (self.name, self.classes) == (other.name, other.classes)

    def beside(self, other: LabelSpace) -> str:
        """Return its name as a message needs it that tells it from another: with its classes where the names agree."""
        return f"{self.name} ({', '.join(self.classes)})" if self.name == other.name else self.name

    def colour(self, labels: npt.ArrayLike) -> UInt8Array:
        """Paint train ids (H, W) as RGB (H, W, 3); ignored pixels are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = self.palette
        image = Image.fromarray(np.asarray(labels).astype(np.uint8))
        image.putpalette(table.tobytes())
        return np.asarray(image.convert("RGB"))  # 16 times as fast as indexing the table


def _subset(classes: tuple[str, ...], without: set[str]) -> tuple[int, ...]:
    return tuple(index for index, name in enumerate(classes) if name not in without)


_CITYSCAPES: dict[str, Colour] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
_CAMVID: dict[str, Colour] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "sidewalk": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
_NOT_IN_SYNTHIA = {"terrain", "truck", "train"}
_THIN_IN_SYNTHIA = {"wall", "fence", "pole"}  # the paper's classes with a star, left out of the 13
_C19 = tuple(_CITYSCAPES)
_S16 = tuple(name for name in _C19 if name not in _NOT_IN_SYNTHIA)

_SPACES = {
    space.name: space
    for space in (
        LabelSpace(
            "cityscapes19",
            _C19,
            tuple(_CITYSCAPES.values()),
            {
                "synthia16": _subset(_C19, _NOT_IN_SYNTHIA),
                "synthia13": _subset(_C19, _NOT_IN_SYNTHIA | _THIN_IN_SYNTHIA),
            },
        ),
        LabelSpace(
            "synthia16",
            _S16,
            tuple(_CITYSCAPES[name] for name in _S16),
            {"synthia13": _subset(_S16, _THIN_IN_SYNTHIA)},
        ),
        LabelSpace("camvid11", tuple(_CAMVID), tuple(_CAMVID.values())),
    )
}


def known_spaces() -> tuple[str, ...]:
    """Return the names of the known label spaces."""
    return tuple(_SPACES)


def label_space(name: str) -> LabelSpace:
    """Return a known label space.

    Raises:
        ConfigError: no space of that name.
    """
    if name not in _SPACES:
        raise ConfigError(f"unknown label space {name!r}", fix=nearest(name, _SPACES))
    return _SPACES[name]


def own_space(own: OwnSpace) -> LabelSpace:
    """Return a label space of one's own.

    Raises:
        ConfigError: it has the name of a known space, and other classes.
    """
    known = _SPACES.get(own.name)
    if known is not None and known.classes != own.classes:
        raise ConfigError(
            f"{own.name} is the name of a known label space with {known.num_classes} other classes",
            where="label_space",
            fix="give yours another name",
        )
    subsets = {name: tuple(map(own.classes.index, classes)) for name, classes in own.subsets.items()}
    return LabelSpace(own.name, own.classes, own.palette, subsets)


def mapping(source: LabelSpace, target: LabelSpace, names: Mapping[str, str] | None = None) -> UInt8Array:
    """Return the table (256,) from one space's train ids to another's, by class name; absent classes become 255.

    Args:
        names: class of `source` -> class of `target`, where they are called differently.

    Raises:
        ConfigError: a name that neither space has, or no class in common.
    """
    names = dict(names or {})
    source.ids(names.keys())
    target.ids(names.values())
    table = np.full(256, IGNORE, np.uint8)
    for index, name in enumerate(source.classes):
        wanted = names.get(name, name)
        if wanted in target.classes:
            table[index] = target.classes.index(wanted)
    if (table == IGNORE).all():
        raise ConfigError(f"{source.name} and {target.name} have no class in common", fix="name them in map_labels")
    return table


def translation(source: LabelSpace, target: LabelSpace, names: Mapping[str, str] | None = None) -> UInt8Array | None:
    """Return the table of `mapping`; None where train ids mean the same in both and no name is given.

    Raises:
        ConfigError: as `mapping`.
    """
    return None if source.is_same(target) and not names else mapping(source, target, names)


def in_classes(counts: npt.NDArray[Any], table: UInt8Array | None, classes: int) -> npt.NDArray[Any]:
    """Return pixels by class of a set, (..., its classes), by the classes that a table gives them, (..., classes).

    Args:
        table: (256,) as `translation` returns it; pixels of classes that become ignored are left out.
    """
    if table is None:
        return counts
    found = np.zeros((*counts.shape[:-1], classes), counts.dtype)
    for theirs, ours in enumerate(table[: counts.shape[-1]]):
        if ours < classes:
            found[..., ours] += counts[..., theirs]
    return found
