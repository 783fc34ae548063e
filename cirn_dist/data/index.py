"""A shard set opened for reading: sample i of plain tars by offset, every read checked by its crc32."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cirn_dist.data import tars
from cirn_dist.data.files import digest, read_json
from cirn_dist.data.labels import LabelSpace
from cirn_dist.errors import CorruptSample, DataError

FORMAT = "cirn-shards/1"
INDEX = "index.json"
LABEL = "label.png"
Sample = dict[str, bytes]

_OPEN_TARS = 64


class ShardSet:
    """A folder of tars with indexes; pickles without its open files, so any worker process may hold one.

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
        self.fingerprint: str = meta["fingerprint"]
        self.label_space = space_from_json(meta["label_space"])
        self._members: dict[str, str] = meta["members"]
        self._ends = np.cumsum([shard["samples"] for shard in self.shards])
        self._indexes: dict[int, npt.NDArray[np.uint64]] = {}
        self._files: OrderedDict[int, int] = OrderedDict()

    @classmethod
    def open(cls, path: str | Path) -> ShardSet:
        """Open a complete shard set; takes milliseconds at any size.

        Raises:
            DataError: no index, a damaged index, a tar or an index file missing or of another size.
        """
        path = Path(path)
        if not (path / INDEX).is_file():
            raise DataError(f"not a complete shard set: no {INDEX}", where=path, fix="pack it, or finish packing it")
        meta = read_json(path / INDEX)
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise DataError(f"not of the format {FORMAT}", where=path / INDEX, fix="pack or index the set again")
        content = {key: value for key, value in meta.items() if key != "fingerprint"}
        if digest(content) != meta.get("fingerprint"):
            raise DataError("the index was changed: its fingerprint differs", where=path / INDEX, fix="index it again")
        for shard in meta["shards"]:
            _check_sizes(path, shard, len(meta["fields"]))
        return cls(path, meta)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indexes": {}, "_files": OrderedDict()}

    def __del__(self) -> None:
        for file in self.__dict__.get("_files", {}).values():
            os.close(file)

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
        return [shard["samples"] for shard in self.shards]

    def locate(self, i: int) -> tuple[int, int]:
        """Return sample i's shard and its place in it."""
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        shard = int(np.searchsorted(self._ends, i, side="right"))
        return shard, i - int(self._ends[shard]) + self.shards[shard]["samples"]

    def key(self, i: int) -> str:
        """Return sample i's key, from its tar's header."""
        shard, row = self.locate(i)
        places = self._index(shard)
        start = int((places[row - 1, :, 0] + places[row - 1, :, 1]).max()) if row else 0
        name = tars.member_name(self.path / self.shards[shard]["name"], int(places[row, :, 0].min()), start)
        return tars.split_name(name.removeprefix("./"))[0]

    def read(self, i: int) -> Sample:
        """Read sample i.

        Raises:
            CorruptSample: truncated or changed bytes; names set, shard, key and field.
        """
        shard, row = self.locate(i)
        file, places = self._file(shard), self._index(shard)[row]
        sample: Sample = {}
        for field, (offset, size, crc) in zip(self.fields, places.tolist(), strict=True):
            data = os.pread(file, size, offset)
            if len(data) != size:
                raise self.corrupt(i, "the tar ends before the member does", field)
            if zlib.crc32(data) != crc:
                raise self.corrupt(i, "the bytes differ from what was indexed (crc32)", field)
            sample[field] = data
        return sample

    def corrupt(self, i: int, reason: str, field: str | None = None) -> CorruptSample:
        """Return the error that names sample i: set, shard, key, field and reason."""
        shard, row = self.locate(i)
        try:
            key = self.key(i)
        except DataError:
            key = f"sample {row}"
        place = f"{self.path} {self.shards[shard]['name']} [{key}]" + (f" {field}" if field else "")
        return CorruptSample(reason, where=place)

    def _index(self, shard: int) -> npt.NDArray[np.uint64]:
        if shard not in self._indexes:
            path = self.path / index_name(self.shards[shard]["name"])
            try:
                self._indexes[shard] = np.load(path, mmap_mode="r", allow_pickle=False)
            except OSError:  # some cluster file systems have no mmap
                self._indexes[shard] = np.load(path, allow_pickle=False)
        return self._indexes[shard]

    def _file(self, shard: int) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
        else:
            path = self.path / self.shards[shard]["name"]
            try:
                self._files[shard] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise DataError(f"cannot be opened ({error.strerror})", where=path) from error
            if len(self._files) > _OPEN_TARS:
                os.close(self._files.popitem(last=False)[1])
        return self._files[shard]


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
