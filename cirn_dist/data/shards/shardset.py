"""A shard set opened for reading: sample i of plain tars by offset, every read checked by its crc32."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.shards import tars
from cirn_dist.errors import CorruptSample, DataError
from cirn_dist.files import digest, read_json
from cirn_dist.formats import SHARDS, is_format

INDEX = "index.json"
LABEL = "label.png"
SOFT = "soft.png"  # a share of each class at each pixel, 0 to 255, one class's map below another's
Sample = dict[str, bytes]

_OPEN_TARS = 64


class ShardSet:
    """A folder of tars with indexes; pickled and copied without its open files, so any worker process may hold one.

    Attributes:
        path: the folder.
        meta: everything index.json says.
        shards: one entry per tar: name, samples, bytes, sha256, idx_sha256.
        fields: what every sample holds, e.g. image.jpg, label.png, json.
        label_space: of label.png; None for images only.
        fingerprint: sha256 of the index; a checkpoint remembers it.
    """

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        self.path, self.meta = path, meta
        self.name: str = meta["name"]
        self.shards: list[dict[str, Any]] = meta["shards"]
        self.fields: tuple[str, ...] = tuple(meta["fields"])
        self._columns = self.fields
        self.fingerprint: str = meta["fingerprint"]
        self.label_space = space_from_json(meta["label_space"])
        self._ends = np.cumsum([shard["samples"] for shard in self.shards])
        self._chosen: npt.NDArray[np.int64] | None = None
        self._opened: OrderedDict[int, tuple[int, npt.NDArray[np.uint64]]] = OrderedDict()

    @classmethod
    def open(cls, path: str | Path, *, check: bool = True) -> ShardSet:
        """Open a complete shard set; takes milliseconds at any size.

        Args:
            path: the folder.
            check: refuse a set whose files are missing or of another size; repair opens those too.

        Raises:
            DataError: no index, a damaged index, a tar or an index file missing or of another size.
        """
        path = Path(path)
        if not (path / INDEX).is_file():
            raise DataError(f"not a complete shard set: no {INDEX}", where=path, fix="pack it, or finish packing it")
        meta = read_json(path / INDEX)
        if not isinstance(meta, dict) or not is_format(meta.get("format"), SHARDS, path, DataError):
            raise DataError(f"not of the format {SHARDS}", where=path / INDEX, fix="pack or index the set again")
        content = {key: value for key, value in meta.items() if key not in ("fingerprint", "notes")}
        if digest(content) != meta.get("fingerprint"):
            raise DataError("the index was changed: its fingerprint differs", where=path / INDEX, fix="index it again")
        for shard in meta["shards"] if check else []:
            _check_sizes(path, shard, len(meta["fields"]))
        return cls(path, meta)

    def __len__(self) -> int:
        if self._chosen is not None:
            return len(self._chosen)
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": OrderedDict()}

    def __del__(self) -> None:
        for file, _ in self.__dict__.get("_opened", {}).values():
            os.close(file)

    def without_labels(self) -> ShardSet:
        """Return the same set, whose labels cannot be read."""
        images = copy(self)
        images.fields = tuple(field for field in self.fields if field not in (LABEL, SOFT))
        images.label_space = None
        return images

    def subset(self, samples: Sequence[int]) -> ShardSet:
        """Return some of the samples, in the set's order; the fingerprint is the whole set's.

        Raises:
            IndexError: one that there is not.
        """
        chosen = np.unique(np.asarray(samples, np.int64))
        if len(chosen) and (chosen[0] < 0 or chosen[-1] >= len(self)):
            raise IndexError(f"samples {chosen[0]} to {chosen[-1]} of {len(self)}")
        part = copy(self)
        part._chosen = chosen if self._chosen is None else self._chosen[chosen]
        return part

    @cached_property
    def image_field(self) -> str:
        """The field that holds the image: image.jpg, image.png or image.webp."""
        return next(field for field in self.fields if field.startswith("image."))

    @property
    def has_labels(self) -> bool:
        """Whether every sample has a label map."""
        return LABEL in self.fields

    @property
    def shard_sizes(self) -> list[int]:
        """Samples per shard."""
        if self._chosen is not None:
            shards = np.searchsorted(self._ends, self._chosen, side="right")
            return [int(count) for count in np.bincount(shards, minlength=len(self.shards))]
        return [shard["samples"] for shard in self.shards]

    def locate(self, i: int) -> tuple[int, int]:
        """Return sample i's shard and its place in it."""
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        if self._chosen is not None:
            i = int(self._chosen[i])
        shard = int(np.searchsorted(self._ends, i, side="right"))
        return shard, i - int(self._ends[shard]) + self.shards[shard]["samples"]

    def key(self, i: int) -> str:
        """Return sample i's key, from its tar's header.

        Raises:
            DataError: the header is damaged.
        """
        shard, row = self.locate(i)
        places = self._open(shard)[1]
        start = int((places[row - 1, :, 0] + places[row - 1, :, 1]).max()) if row else 0
        return tars.key_at(self.path / self.shards[shard]["name"], int(places[row, :, 0].min()), start)

    def read(self, i: int) -> Sample:
        """Read sample i.

        Raises:
            CorruptSample: truncated or changed bytes; names set, shard, key and field.
        """
        return {field: self.read_field(i, field) for field in self.fields}

    def read_field(self, i: int, field: str) -> bytes:
        """Read one field of sample i.

        Raises:
            CorruptSample: as `read`.
        """
        shard, row = self.locate(i)
        file, places = self._open(shard)
        offset, size, crc = places[row, self._columns.index(field)].tolist()
        if offset + size > os.fstat(file).st_size:  # cut short, or a damaged index
            raise self.corrupt(i, "the tar ends before the member does", field)
        data = os.pread(file, size, offset)
        if zlib.crc32(data) != crc:
            raise self.corrupt(i, "the bytes differ from what was indexed (crc32)", field)
        return data

    def corrupt(self, i: int, reason: str, field: str | None = None) -> CorruptSample:
        """Return the error that names sample i: set, shard, key, field and reason."""
        shard, row = self.locate(i)
        try:
            key = self.key(i)
        except DataError:
            key = f"sample {row}"
        place = f"{self.path} {self.shards[shard]['name']} [{key}]" + (f" {field}" if field else "")
        return CorruptSample(reason, where=place)

    def _open(self, shard: int) -> tuple[int, npt.NDArray[np.uint64]]:
        """Return a shard's open tar and its places [samples, fields, 3]; the least recently used are closed."""
        if shard in self._opened:
            self._opened.move_to_end(shard)
            return self._opened[shard]
        tar = self.path / self.shards[shard]["name"]
        shape = self.shards[shard]["samples"], len(self._columns), 3
        places = _load_index(tar.with_name(index_name(tar.name)), shape)
        try:
            self._opened[shard] = os.open(tar, os.O_RDONLY | os.O_CLOEXEC), places
        except OSError as error:
            raise DataError(f"cannot be opened ({error.strerror})", where=tar) from error
        if len(self._opened) > _OPEN_TARS:
            os.close(self._opened.popitem(last=False)[1][0])
        return self._opened[shard]


def _load_index(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint64]:
    try:
        try:
            places: npt.NDArray[np.uint64] = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError:  # some cluster file systems have no mmap
            places = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
        raise DataError(f"the index file cannot be read ({error})", where=path, fix="index the set again") from error
    if places.shape != shape or places.dtype != np.uint64:
        raise DataError(f"the index file holds {places.dtype} {places.shape}, not uint64 {shape}", where=path)
    return places


def packed_at(raw: Path | None, split: str | None) -> Path | None:
    """Return where a packed set is that a raw folder's name stands for: the folder itself or, in it, the split's.

    None where there is none: the folder's images are still to be packed.
    """
    folders = [] if raw is None else [raw, raw / split] if split else [raw]
    return next((folder for folder in folders if _is_set(folder)), None)


def _is_set(folder: Path) -> bool:
    """Whether a folder's index.json is a shard set's, damaged or not: raw data may have a file of that name too."""
    if not (folder / INDEX).is_file():
        return False
    with (folder / INDEX).open("rb") as file:
        return b'"cirn-shards/' in file.read(1 << 14) or any(folder.glob(index_name("*.tar")))


def index_name(tar: str) -> str:
    """Return the index file's name of a tar."""
    return tar.removesuffix(".tar") + ".idx.npy"


def space_to_json(space: LabelSpace | None) -> dict[str, Any] | None:
    """Describe a label space so that the set can be read without this package."""
    if space is None:
        return None
    return {
        "name": space.name,
        "classes": list(space.classes),
        "palette": [list(colour) for colour in space.palette],
        "subsets": {name: list(ids) for name, ids in space.subsets.items()},
    }


def space_from_json(content: dict[str, Any] | None) -> LabelSpace | None:
    """Rebuild a label space from index.json."""
    if content is None:
        return None
    palette = tuple((r, g, b) for r, g, b in content["palette"])
    subsets = {name: tuple(ids) for name, ids in content["subsets"].items()}
    return LabelSpace(content["name"], tuple(content["classes"]), palette, subsets)


def _check_sizes(folder: Path, shard: dict[str, Any], fields: int) -> None:
    tar, index = folder / shard["name"], folder / index_name(shard["name"])
    for path, expected in ((tar, shard["bytes"]), (index, None)):
        if not path.is_file():
            raise DataError("missing", where=path, fix="pack or copy the set again")
        if expected is not None and path.stat().st_size != expected:
            found = path.stat().st_size
            raise DataError(
                f"has {found} bytes, the index says {expected}: truncated or replaced after indexing",
                where=path,
                fix="copy it again, or index the set again",
            )
    least = shard["samples"] * fields * 3 * 8
    if index.stat().st_size < least:
        raise DataError("the index file is truncated", where=index, fix="index the set again")
