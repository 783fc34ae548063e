"""How the published datasets write classes into their label images: ids, or colours, to class names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from cirn_dist.data.labels import IGNORE, Colour, LabelSpace, label_space
from cirn_dist.errors import ConfigError, nearest

Key = TypeVar("Key", int, Colour)

_CITYSCAPES_IDS = dict(
    zip((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33), range(19), strict=True)
)
_CITYSCAPES_VOID = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
_SYNTHIA_IDS = {
    3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9, 1: 10,
    10: 11, 17: 12, 8: 13, 18: 14, 19: 15, 20: 16, 12: 17, 11: 18,
}  # fmt: skip
_SYNTHIA_VOID = (0, 13, 14, 22)  # void, parking slot, road work, lane marking

# name: (label space its train ids are of, {id in the file: train id})
_ID_MAPS: dict[str, tuple[str, dict[int, int]]] = {
    "cityscapes": ("cityscapes19", {**dict.fromkeys(_CITYSCAPES_VOID, IGNORE), **_CITYSCAPES_IDS}),
    # 34 is the licence plate, which Cityscapes itself writes as -1
    "gta5": ("cityscapes19", {**dict.fromkeys((*_CITYSCAPES_VOID, 34), IGNORE), **_CITYSCAPES_IDS}),
    "synthia": ("cityscapes19", {**dict.fromkeys(_SYNTHIA_VOID, IGNORE), **_SYNTHIA_IDS}),
    "camvid11": ("camvid11", {**{index: index for index in range(11)}, 11: IGNORE}),
}

_CITYSCAPES_VOID_COLOURS: tuple[Colour, ...] = (
    (0, 0, 0), (20, 20, 20), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140),
    (180, 165, 180), (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110),
)  # fmt: skip

# the 32 colours of the original CamVid, grouped as the 11-class form groups them
_CAMVID32: dict[str, tuple[Colour, ...]] = {
    "sky": ((128, 128, 128),),
    # building, archway, bridge, tunnel, wall
    "building": ((128, 0, 0), (192, 0, 128), (0, 128, 64), (64, 0, 64), (64, 192, 0)),
    # column or pole, traffic cone
    "pole": ((192, 192, 128), (0, 0, 64)),
    # road, lane markings that may and may not be crossed
    "road": ((128, 64, 128), (128, 0, 192), (192, 0, 64)),
    # sidewalk, parking block, road shoulder
    "sidewalk": ((0, 0, 192), (64, 192, 128), (128, 128, 192)),
    # tree, other vegetation
    "tree": ((128, 128, 0), (192, 192, 0)),
    # sign, other text, traffic light
    "sign": ((192, 128, 128), (128, 128, 64), (0, 64, 64)),
    "fence": ((64, 64, 128),),
    # car, SUV or pickup, truck or bus, train, other moving object
    "car": ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    # pedestrian, child, cart or pram, animal
    "pedestrian": ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    # bicyclist, motorcycle or scooter
    "bicyclist": ((0, 128, 192), (192, 0, 192)),
}


def _cityscapes_colours() -> dict[Colour, str]:
    space = label_space("cityscapes19")
    return {
        **dict.fromkeys(_CITYSCAPES_VOID_COLOURS, "ignore"),
        **dict(zip(space.palette, space.classes, strict=True)),
    }


def _camvid_colours() -> dict[Colour, str]:
    return {(0, 0, 0): "ignore", **{colour: name for name, colours in _CAMVID32.items() for colour in colours}}


_COLOUR_MAPS = {"cityscapes": _cityscapes_colours, "camvid32": _camvid_colours}


def id_map(name_or_map: str | Mapping[int, int | str], space: LabelSpace) -> dict[int, int]:
    """Return {id in the file: train id in `space`}; an id that is not in it is unknown, not ignored.

    Args:
        name_or_map: `train_ids`, a known map's name, or a mapping to train ids, class names or "ignore".
        space: classes a known map has and the space has not become ignored.

    Raises:
        ConfigError: no such map, class or train id; a known map and the space have no class in common.
    """
    if name_or_map == "train_ids":
        return {**{index: index for index in range(space.num_classes)}, IGNORE: IGNORE}
    if not isinstance(name_or_map, str):
        return {key: _train_id(value, space) for key, value in name_or_map.items()}
    if name_or_map not in _ID_MAPS:
        raise ConfigError(
            f"unknown id map {name_or_map!r}", fix=f"train_ids, {', '.join(_ID_MAPS)}, or a mapping {{id: class}}"
        )
    native, table = _ID_MAPS[name_or_map]
    classes = label_space(native).classes
    names = {key: classes[value] if value != IGNORE else "ignore" for key, value in table.items()}
    return _known(names, space, name_or_map)


def colour_map(colours: str | Mapping[str, Iterable[Colour]] | None, space: LabelSpace) -> dict[Colour, int]:
    """Return {RGB colour in the file: train id in `space`}; a colour that is not in it is unknown, not ignored.

    Args:
        colours: a known map's name; {class or "ignore": its colours}; None for the space's palette, which
            {"ignore": colours} alone adds to.
        space: classes a known map has and the space has not become ignored.

    Raises:
        ConfigError: no such map or class, a colour of two classes; a known map and the space have no class in common.
    """
    if isinstance(colours, str):
        if colours not in _COLOUR_MAPS:
            raise ConfigError(
                f"unknown colour map {colours!r}",
                fix=f"{nearest(colours, _COLOUR_MAPS)}; or a mapping {{class: [r, g, b]}}",
            )
        return _known(_COLOUR_MAPS[colours](), space, colours)
    named = [(name, colour) for name, several in (colours or {}).items() for colour in several]
    if not set(colours or {}) - {"ignore"}:
        named += zip(space.classes, space.palette, strict=True)
    table: dict[Colour, int] = {}
    owner: dict[Colour, str] = {}
    for name, colour in named:
        if owner.setdefault(colour, name) != name:
            raise ConfigError(f"{owner[colour]} and {name} have one colour, {colour}", fix="give `colours` that differ")
        table[colour] = _train_id(name, space)
    return table


def _known(names: Mapping[Key, str], space: LabelSpace, called: str) -> dict[Key, int]:
    """Translate a known map's class names; those the space has not are ignored, but not all of them."""
    table = {key: space.classes.index(name) if name in space.classes else IGNORE for key, name in names.items()}
    if set(table.values()) == {IGNORE}:
        raise ConfigError(f"{called} has no class of {space.name}", fix=f"name them: {', '.join(space.classes)}")
    return table


def _train_id(value: int | str, space: LabelSpace) -> int:
    if value in ("ignore", IGNORE):
        return IGNORE
    if isinstance(value, str) and value in space.classes:
        return space.classes.index(value)
    if isinstance(value, int) and 0 <= value < space.num_classes:
        return value
    raise ConfigError(
        f"{value!r} is no class of {space.name}", fix=f"ignore, 255, or one of: {', '.join(space.classes)}"
    )
