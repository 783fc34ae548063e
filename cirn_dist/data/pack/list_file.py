"""A split's list file: which image each of its lines names."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cirn_dist.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
_NUMBERS = re.compile(r"(-?\d+\s*)+")


@dataclass(frozen=True)
class Listed:
    """The images a list names, by source, in its order.

    Args:
        again: what is said of lines that name an image named before; empty where there are none.
    """

    sources: list[str]
    again: str


def listed(path: Path, keys: Mapping[str, str], root: str) -> Listed:
    """Read a list of images, one a line: a path, or a name or key that only one image has.

    A line may go on after a comma, semicolon, tab or, behind an image's name or before numbers, a space: lists of
    pairs and tables are read by their first column. Blank lines and comments (#) are passed over.

    Args:
        path: the text file.
        keys: source of each image, its path below the raw folder, to key.
        root: the raw folder's name; a path from elsewhere may come through it.

    Raises:
        DataError: it cannot be read, names no image, or a line names none or more than one; says which line.
    """
    names = _Names(keys, root)
    first: dict[str, int] = {}
    again: list[tuple[int, str]] = []
    for number, line in _lines(path):
        found = next((found for name in _readings(line) if (found := names.find(name))), [])
        if not found and line.startswith("#"):
            continue
        if len(found) != 1:
            raise _wrong(path, number, line, found, names)
        if found[0] in first:
            again.append((number, found[0]))
        first.setdefault(found[0], number)
    if not first:
        raise DataError("the list names no image", where=path)
    said = ""
    if again:
        number, source = again[0]
        said = f"{path.name}: {len(again)} lines name an image that is named before, first line {number}, {source}"
    return Listed(list(first), said)


class _Names:
    """Images by everything a list may call them."""

    def __init__(self, keys: Mapping[str, str], root: str) -> None:
        self._root = root
        self._sources = {_folded(source): source for source in keys}
        self._named: dict[str, list[str]] = defaultdict(list)  # by file name, by stem and by key
        for source, key in keys.items():
            name = posixpath.basename(_folded(source))
            for alias in {name, posixpath.splitext(name)[0], key}:
                self._named[alias].append(source)

    def find(self, name: str) -> list[str]:
        """Return the images a name may mean: one where it is right."""
        name = _folded(posixpath.normpath(name))
        if name in self._sources:
            return [self._sources[name]]
        if "/" not in name:
            return self._named.get(name, [])
        below = [source for source in self.namesakes(name) if self._is_below(source, name)]
        longest = max((len(source) for source in below if _folded(source).count("/") < name.count("/")), default=0)
        return [source for source in below if len(source) >= longest]

    def namesakes(self, name: str) -> list[str]:
        """Return the images whose file is called as the last part of a path."""
        return self._named.get(posixpath.basename(name), [])

    def _is_below(self, source: str, name: str) -> bool:
        """Whether a path with folders names this image: it ends with all of it, or it with all of the path."""
        whole = _folded(source)
        for path in (whole, posixpath.splitext(whole)[0]):
            tails = [f"/{self._root}/{path}", *([f"/{path}"] if "/" in path else [])]
            if f"/{path}".endswith(f"/{name.lstrip('/')}") or any(f"/{name}".endswith(tail) for tail in tails):
                return True
        return False


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"the split's list cannot be read ({error.strerror})", where=path) from error
    except UnicodeDecodeError as error:
        raise DataError("the split's list is no UTF-8 text", where=path, fix="save it as UTF-8") from error
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: other breaks are parts of names
        if line.strip():
            yield number, line.strip()


def _readings(line: str) -> Iterator[str]:
    """Yield what a line may name: all of it, else its first column."""
    columns = [line]
    for mark in ",;\t ":
        column, _, rest = line.partition(mark)
        whole = not column.strip("\"' ").lower().endswith(IMAGE_SUFFIXES)
        if whole and (line.lower().endswith(IMAGE_SUFFIXES) or (mark == " " and not _NUMBERS.fullmatch(rest.strip()))):
            continue  # "my image.png" is one name, not the image "my" and something else
        columns.append(column)
    for column in columns:
        bare = column.strip().strip("\"'").strip()
        if bare:
            yield bare
            if "\\" in bare:
                yield bare.replace("\\", "/")


def _folded(path: str) -> str:
    """Return a path with its ending in small letters."""
    stem, suffix = posixpath.splitext(path)
    return stem + suffix.lower()


def _wrong(path: Path, number: int, line: str, found: Sequence[str], names: _Names) -> DataError:
    if found:
        return DataError(
            f"line {number}: {line} names {len(found)} images, {found[0]} and {found[1]}",
            where=path,
            fix="write the path below the raw folder",
        )
    name = list(_readings(line))[-1]
    near = names.namesakes(posixpath.splitext(posixpath.basename(name))[0])
    fix = f"there is {near[0]}" if near else None
    return DataError(f"line {number}: the listed image {name} is missing", where=path, fix=fix)
