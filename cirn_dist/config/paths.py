"""The settings that are paths: made whole where they are read, relative where they are written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cirn_dist.config.problems import sections
from cirn_dist.config.schema import Config
from cirn_dist.config.section import Located
from cirn_dist.errors import ConfigError
from cirn_dist.resources import Kind, expanded, folder, is_there, plain, resource

Tree = dict[str, Any]
Key = tuple[str, ...]


def with_paths(tree: Tree, change: Callable[[Located, str, Key], str]) -> Tree:
    """Return a tree of settings with every one that is a path changed."""
    found = dict(sections(Config))

    def walk(node: Tree, at: Key) -> Tree:
        fields = found[at].model_fields if at in found else {}
        changed = dict(node)
        for key, value in node.items():
            marks = [one for one in fields[key].metadata if isinstance(one, Located)] if key in fields else []
            if isinstance(value, dict):
                changed[key] = walk(value, (*at, str(key)))
            elif marks and isinstance(value, str):
                changed[key] = change(marks[0], value, (*at, key))
            elif marks and isinstance(value, (list, tuple)):
                changed[key] = [change(marks[0], one, (*at, key)) if isinstance(one, str) else one for one in value]
        return changed

    return walk(tree, ())


def locating(writer: str, beside: Path) -> Callable[[Located, str, Key], str]:
    """Return what makes a path whole that was written in a file in the folder `beside`."""

    def locate(mark: Located, text: str, key: Key) -> str:
        if mark.is_word(text):
            return text
        text = expanded(text, where=f"{writer}: {'.'.join(key)}")
        path = beside / text
        if mark.kind is not None and not is_there(path):
            with suppress(ConfigError):  # told where it is needed
                path = resource(mark.kind, text, beside=beside)
        return named(mark.kind, plain(path))

    return locate


def named(kind: Kind | None, path: Path) -> str:
    """Return a path; of a file that ships its name, which is the same wherever the package lies."""
    shipped = None if kind is None else plain(folder(kind))
    return path.stem if path.parent == shipped else str(path)
