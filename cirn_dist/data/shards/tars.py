"""Finding samples in a plain tar: where each member's bytes are, and which tars cannot be trusted."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from cirn_dist.errors import DataError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Member:
    """One file of a tar: its sample's key, its field, and where its bytes are."""

    key: str
    field: str
    offset: int
    size: int
    crc: int


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name into key and field as WebDataset does: at the first dot of the last path component."""
    folder, slash, base = name.rpartition("/")
    stem, _, field = base.partition(".")
    return folder + slash + stem, field


def scan(path: Path) -> Iterator[Member]:
    """Read a tar's members in order, with the crc32 of each.

    Raises:
        DataError: compressed or truncated tar, link or device member, name that leaves the folder.
    """
    with path.open("rb") as file:
        _refuse_compressed(path, file)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                end = 0
                for info in tar:
                    end = info.offset_data + info.size
                    if not info.isdir():
                        yield _member(path, file, info)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"not a readable tar ({error})", where=path) from error
        _refuse_truncated(path, file, end)


def samples_in(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read a tar's samples in order: each one's key, and its fields' bytes.

    Raises:
        DataError: what `scan` refuses.
    """
    with path.open("rb") as file:
        for key, members in groupby(scan(path), lambda member: member.key):
            sample = {}
            for member in members:
                file.seek(member.offset)
                sample[member.field] = file.read(member.size)
            yield key, sample


def _member(path: Path, file: BinaryIO, info: tarfile.TarInfo) -> Member:
    where = f"{path} [{info.name}]"
    if not info.isreg() or info.issparse():
        raise DataError(
            "the member is a link or a device, not a file", where=where, fix="write the tar with plain files"
        )
    key, field = _checked_name(path, info)
    position = file.tell()
    file.seek(info.offset_data)
    data = file.read(info.size)
    file.seek(position)
    if len(data) != info.size:
        raise DataError("the tar is truncated", where=where, fix="copy it again")
    return Member(key, field, info.offset_data, info.size, zlib.crc32(data))


def _checked_name(path: Path, info: tarfile.TarInfo) -> tuple[str, str]:
    where = f"{path} [{info.name}]"
    name = PurePosixPath(info.name)
    if name.is_absolute() or ".." in name.parts:
        raise DataError("the member's name leaves the folder", where=where, fix="do not trust this tar")
    key, field = split_name(info.name.removeprefix("./"))
    if not field or not key or key.endswith("/"):
        raise DataError("the member's name is not KEY.FIELD", where=where)
    return key, field


def _refuse_compressed(path: Path, file: BinaryIO) -> None:
    head = file.read(6)
    file.seek(0)
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(
                f"compressed with {name}, so a sample cannot be read alone", where=path, fix="decompress it"
            )


def _refuse_truncated(path: Path, file: BinaryIO, end: int) -> None:
    """A tar ends with two zero blocks; Python's reader takes any end for the end."""
    file.seek(_whole_blocks(end))
    tail = file.read(2 * tarfile.BLOCKSIZE)
    if len(tail) < 2 * tarfile.BLOCKSIZE or any(tail):
        raise DataError("the tar is truncated: its end marker is missing", where=path, fix="copy or write it again")


def _whole_blocks(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def key_at(path: Path, offset: int, start: int) -> str:
    """Return the key of the member whose bytes are at `offset`, reading headers from `start` on.

    Raises:
        DataError: no member there, or its header is damaged.
    """
    try:
        with path.open("rb") as file:
            file.seek(_whole_blocks(start))
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for info in tar:
                    if info.offset_data >= offset:
                        return _checked_name(path, info)[0]
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"the member's header cannot be read ({error})", where=path) from error
    raise DataError("no member at that place: the tar was replaced after indexing", where=path)


def index_tar(path: Path) -> tuple[list[str], npt.NDArray[np.uint64]]:
    """Index a tar whose samples all have the same fields: their names, and (offset, size, crc32) [samples, fields, 3].

    Raises:
        DataError: what `scan` refuses; a key twice, or not in one piece; a repeated or missing field.
    """
    rows: dict[str, dict[str, tuple[int, int, int]]] = {}
    current = None
    for member in scan(path):
        where = f"{path} [{member.key}]"
        if member.key != current and member.key in rows:
            raise DataError("the key occurs twice, or its members are not adjacent", where=where)
        current = member.key
        row = rows.setdefault(member.key, {})
        if member.field in row:
            raise DataError(f"the field {member.field} occurs twice", where=where)
        row[member.field] = (member.offset, member.size, member.crc)
    fields = sorted({field for row in rows.values() for field in row})
    for key, row in rows.items():
        missing = [field for field in fields if field not in row]
        if missing:
            raise DataError(f"missing fields: {', '.join(missing)}", where=f"{path} [{key}]")
    places = np.array([[row[field] for field in fields] for row in rows.values()], np.uint64)
    return fields, places.reshape(len(rows), len(fields), 3)
