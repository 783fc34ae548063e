"""Walking a raw folder: its files in a fixed order, each real folder once, without what systems leave behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cirn_dist.data.shards.shardset import INDEX
from cirn_dist.errors import DataError

PLAN = "pack.json"  # in a shard set that is still being packed

# what macOS, Windows and Synology put beside a user's files; names with a dot in front are passed over too
_LEFT_BEHIND = frozenset(
    ("__macosx", "@eadir", "#recycle", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information")
)


class Walks:
    """The files below folders, listed once however many patterns are compared with them.

    Attributes:
        again: links to folders that were not followed, because the folder is walked elsewhere or holds the link.
    """

    def __init__(self) -> None:
        self._files: dict[Path, list[Path]] = {}
        self.again: dict[Path, list[Path]] = {}

    def files(self, folder: Path) -> list[Path]:
        """Return the files below a folder, sorted folder by folder; none where there is no such folder.

        Links are followed, each real folder once: a folder's own place goes before a link to it, and a link to a
        folder that holds the walk itself is not followed.

        Raises:
            DataError: a folder that cannot be listed.
        """
        if folder not in self._files:
            self.again[folder] = []
            self._files[folder] = list(_walk(folder, self.again[folder])) if folder.is_dir() else []
        return self._files[folder]


def _walk(top: Path, again: list[Path]) -> Iterator[Path]:
    start = os.path.realpath(top)
    known: set[str] = set()  # real folders that are not to be walked by a link; filled when the first link is met

    def is_new(link: str) -> bool:
        if not known:
            known.update(os.path.realpath(parent) for parent, _, _ in os.walk(top))
        real = os.path.realpath(link)
        if real in known or f"{start}/".startswith(f"{real.rstrip('/')}/"):
            again.append(Path(link))
            return False
        known.add(real)
        return True

    def visit(parent: str, linked: bool) -> Iterator[Path]:
        files, folders = _listed(parent)
        yield from map(Path, files)
        for folder, link in folders:
            if not (link or linked) or is_new(folder):
                yield from visit(folder, linked or link)

    yield from visit(str(top), False)


def _listed(parent: str) -> tuple[list[str], list[tuple[str, bool]]]:
    """Return the paths of a folder's files, and of its folders with whether they are links; a shard set has none."""
    files, folders = [], []
    try:
        with os.scandir(parent) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if _is_left_behind(entry.name):
                    continue
                if _is_folder(entry):
                    folders.append((entry.path, entry.is_symlink()))
                elif (
                    entry.is_symlink() or entry.is_file()
                ):  # a broken link is an error when it is read; a pipe would hang
                    files.append(entry.path)
    except OSError as error:
        raise DataError(f"cannot be listed ({error.strerror})", where=parent) from error
    names = {os.path.basename(file) for file in files}
    packed = not names.isdisjoint((INDEX, PLAN)) and any(name.endswith(".tar") for name in names)
    return ([], []) if packed else (files, folders)


def _is_left_behind(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
