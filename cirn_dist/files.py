"""Writing files so that a reader sees the old one, the whole new one, or none."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cirn_dist.errors import DataError

PARTIAL = ".partial"  # how the name of a file that is being written ends

_ADVICE = {
    errno.ENOSPC: "free some space and start again: what is finished is kept",
    errno.EDQUOT: "your quota is full: free some space and start again",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder",
    errno.EPERM: "no permission to write there: choose another folder",
}
_NOT_OURS = "its permissions do not let this user open it"
_READING = _ADVICE | {errno.EACCES: _NOT_OURS, errno.EPERM: _NOT_OURS}


@contextmanager
def writing_into(place: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write (full, read-only, forbidden) into a DataError naming `place`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        what, other = os.strerror(error.errno), _elsewhere(error, place)
        if other is not None and error.errno in (errno.EACCES, errno.EPERM):
            raise DataError(what, where=other, fix=_NOT_OURS) from error
        raise DataError(what, where=other or place, fix=_ADVICE[error.errno]) from error


@contextmanager
def naming_the_file() -> Iterator[None]:
    """Turn an operating system's refusal of a file (forbidden, too long a name) into a DataError that names it."""
    try:
        yield
    except OSError as error:
        if not isinstance(error.filename, str | os.PathLike):
            raise
        fix = _READING.get(error.errno or 0)
        raise DataError(os.strerror(error.errno or 0), where=Path(error.filename), fix=fix) from error


def _elsewhere(error: OSError, place: Path) -> Path | None:
    """Return the file that was refused, where it is known and is not of `place`: what is read while that is written."""
    if not isinstance(error.filename, str | os.PathLike):
        return None
    file = Path(os.path.abspath(error.filename))
    place = Path(os.path.abspath(place))
    partial = file.parent == place.parent and file.name.endswith(PARTIAL)
    return None if partial or file.is_relative_to(place) or place.is_relative_to(file) else file


def beside(path: Path) -> Path:
    """Return the name of a file that is being written: in a folder that others may write, nobody can guess it.

    To be opened for creation alone ("x"), so that a link that waits there is never written through.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}{PARTIAL}")


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when whole and on disk.

    Raises:
        DataError: no space left, read-only file system, no permission.
    """
    partial = beside(path)
    with writing_into(path):
        try:
            with partial.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def as_its_folder(file: Path) -> None:
    """Give a file the permissions that its folder has, which are the umask's: who may list it may read it."""
    file.chmod(file.parent.stat().st_mode & 0o666)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Put `text` at `path` in one step: a reader sees the old file or the new one, and a failure leaves the old."""
    with atomic(path) as file:
        file.write(text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys: the same content is the same bytes."""
    with atomic(path) as file:
        file.write((json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: unreadable or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as JSON ({error})", where=path) from error


def canonical(content: Any) -> bytes:
    """Serialise JSON one way only, for hashing."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def digest(content: Any) -> str:
    """Return the sha256 of JSON content."""
    return hashlib.sha256(canonical(content)).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
