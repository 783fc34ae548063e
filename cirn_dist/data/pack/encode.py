"""Turning one raw item into an encoded sample: decode, map the labels to train ids, resize, encode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from cirn_dist.data.decode import CODECS, encode_image, encode_label, open_image, png_bits
from cirn_dist.data.label_files import first_channel16, open_colours, open_label
from cirn_dist.data.labels import Colour, UInt8Array
from cirn_dist.data.pack.forms import Form
from cirn_dist.data.pack.id_maps import colour_map, id_map
from cirn_dist.data.pack.matches import Item
from cirn_dist.data.pack.recipes import Recipe
from cirn_dist.data.shards.samples import Entry, LeftOut, json_field
from cirn_dist.data.shards.sizes import misfit
from cirn_dist.data.shards.stats import measure
from cirn_dist.errors import CorruptSample, DataError

_UNKNOWN = -1
_WIDE_FIX = "write them as 8-bit PNG; `encoding: first_channel16` reads SYNTHIA's 16-bit RGB"
_ID_FIX = "say in the recipe's `ids` what it is: {id: class}, or {id: ignore}"
_COLOUR_FIX = "say in the recipe's `colours` what it is: {class: [r, g, b]}, or {ignore: [r, g, b]}"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Encoder:
    """What every item of a packing has in common; picklable, called in worker processes.

    Args:
        recipe: the dataset.
        form: how its files are; None for rendered images.
        labels: whether label files are opened at all.
        size: width and height of the packed image; None keeps each image's own.
        label_size: `image` resizes the label with the image (nearest), `original` leaves it whole.
        codec: jpeg95, png or webp.
        published: the files are a published dataset's, whose ids and colours are known: a wrong one is a broken file.
    """

    recipe: Recipe
    form: Form | None
    labels: bool
    size: tuple[int, int] | None
    label_size: str
    codec: str
    published: bool = False

    def __call__(self, item: Item) -> Entry | LeftOut:
        """Encode one item.

        Raises:
            DataError: an unreadable image or label, a label with an unknown id; names the file.
        """
        found = self.read(item)
        return found if isinstance(found, LeftOut) else self._encode(item, *found)

    def read(self, item: Item) -> tuple[Image.Image, UInt8Array | None] | LeftOut:
        """Decode one item at its own size: the image and its train ids.

        Raises:
            DataError: as `__call__`.
        """
        if item.image is None:
            return self._render(item)
        image = self._decoded(item.image, open_image)
        if item.label is None:
            return image, None
        label = self._decoded(item.label, self._train_ids)
        wrong = misfit((image.height, image.width), label.shape)
        return LeftOut(item.source, wrong) if wrong else (image, label)

    def _encode(self, item: Item, image: Image.Image, label: UInt8Array | None) -> Entry:
        original = image.size
        if self.size and self.size != original:
            image = image.resize(self.size, Image.Resampling.BICUBIC)
        try:
            sample = {CODECS[self.codec]: encode_image(image, self.codec)}
        except (OSError, ValueError) as error:  # JPEG ends at 65,535 pixels a side, WebP at 16,383
            what = f"{image.width}x{image.height} cannot be written as {self.codec} ({error})"
            raise DataError(what, where=item.image, fix="choose a smaller size, or codec png") from error
        if label is not None:
            if self.label_size == "image" and image.size != original:
                label = np.asarray(Image.fromarray(label).resize(image.size, Image.Resampling.NEAREST))
            sample["label.png"] = encode_label(label)
        sample["json"] = json_field({"source": item.source, "size": list(original)})
        return Entry(item.key, sample, measure(np.asarray(image), label))

    def _render(self, item: Item) -> tuple[Image.Image, UInt8Array | None]:
        from cirn_dist.data.streets import render  # its textures are not needed by other recipes

        width, height = self.size or (480, 360)
        image, label = render(self.recipe.seed, item.index, width, height, appearance=self.recipe.appearance)
        return Image.fromarray(image), label if self.labels else None

    def _train_ids(self, data: bytes) -> UInt8Array:
        assert self.form is not None
        encoding, space = self.form.encoding, self.recipe.space
        if encoding == "first_channel16":
            return _map_ids(first_channel16(data), id_map(self.form.ids, space))
        if encoding == "colour" or (encoding == "index_or_colour" and png_colour_type(data) in (2, 6)):
            return _map_colours(open_colours(data), colour_map(self.form.colours, space))
        if png_bits(data) == 16:
            raise CorruptSample("16 bits per pixel; this form's labels have 8", fix=_WIDE_FIX)
        if png_colour_type(data) in (2, 6):
            raise CorruptSample("a label in colours; this form's labels hold ids", fix="`encoding: colour` reads it")
        return _map_ids(open_label(data), id_map(self.form.ids, space))

    def _decoded(self, path: Path, decode: Callable[[bytes], Result]) -> Result:
        try:
            return decode(path.read_bytes())
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", where=path) from error
        except CorruptSample as error:
            fix = "restore the file from the published archive" if self.published else error.fix
            raise CorruptSample(error.what, where=path, fix=fix) from error


def png_colour_type(data: bytes) -> int | None:
    """Return a PNG's colour type: 0 grey, 2 RGB, 3 palette, 6 RGBA; None for other formats."""
    return data[25] if png_bits(data) is not None and len(data) > 25 else None


def _map_ids(ids: UInt8Array, table: dict[int, int]) -> UInt8Array:
    lookup = np.full(256, _UNKNOWN, np.int16)
    lookup[list(table)] = list(table.values())
    mapped = lookup[ids]
    unknown = np.unique(ids[mapped == _UNKNOWN])
    if unknown.size:
        raise CorruptSample(f"unknown label id {', '.join(map(str, unknown[:5]))}", fix=_ID_FIX)
    return mapped.astype(np.uint8)


def _map_colours(image: UInt8Array, table: dict[Colour, int]) -> UInt8Array:
    codes = _code(image)
    known = np.array(sorted(table), np.uint8)
    known_codes = _code(known)
    place = np.searchsorted(known_codes, codes).clip(max=len(known) - 1)
    unknown = codes[known_codes[place] != codes]
    if unknown.size:
        code = int(unknown[0])
        raise CorruptSample(
            f"unknown label colour {(code >> 16, code >> 8 & 255, code & 255)} in {unknown.size:,} pixels",
            fix=_COLOUR_FIX,
        )
    train_ids: UInt8Array = np.array([table[(int(r), int(g), int(b))] for r, g, b in known], np.uint8)
    mapped: UInt8Array = train_ids[place]
    return mapped


def _code(colours: UInt8Array) -> npt.NDArray[np.uint32]:
    wide = colours.astype(np.uint32)
    return wide @ np.array([1 << 16, 1 << 8, 1], np.uint32)
