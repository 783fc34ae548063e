"""Finding files: those that ship and are not Python (configs, launch scripts, dataset recipes), and the user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cirn_dist.errors import ConfigError, nearest
from cirn_dist.files import naming_the_file

Kind = Literal["configs", "launch", "shards"]

_PACKAGE = Path(__file__).parent


def folder(kind: Kind) -> Path:
    """Return the folder of that kind: the one inside the installed wheel, else the checkout's own.

    Never the other way round: what lies beside an installed package in site-packages may be another project's.
    """
    installed = _PACKAGE / "_data" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def resource(kind: Kind, name: str, *, under: Sequence[str] = ("",), beside: Path = Path()) -> Path:
    """Find a YAML file by the name of one that ships, or by path.

    Args:
        name: a bare word is a name first; with an ending or a slash it is a path first.
        under: the folders of that kind whose files are meant, for names without a folder and for the advice.
        beside: the folder that paths are relative to.

    Raises:
        ConfigError: no such file; names the nearest of those that ship, or all.
    """
    shipped, path = folder(kind), beside / name
    word = name.removesuffix(".yaml").removeprefix(f"{kind}/")
    bundled = next((file for file in (shipped / one / f"{word}.yaml" for one in [*under, ""]) if is_there(file)), None)
    if bundled is not None and (name == Path(word).name or not is_there(path)):
        return bundled
    if is_there(path):
        return path
    names = sorted(
        str(file.relative_to(shipped if "" in under else shipped / one).with_suffix(""))
        for one in under
        for file in (shipped / one).glob("*.yaml")
    )
    raise ConfigError(
        f"no such file, and none of that name in {kind}/", where=path, fix=f"give a path, or {nearest(word, names)}"
    )


def is_there(file: Path) -> bool:
    """Whether there is a file.

    Raises:
        DataError: the operating system refuses the name, as one that is too long.
    """
    with naming_the_file():
        return file.is_file()


def is_shipped(kind: Kind, name: str) -> bool:
    """Whether a bare word is the name of a file that ships."""
    return name == Path(name).name and is_there(folder(kind) / f"{name}.yaml")


def expanded(text: str, *, where: str) -> str:
    """Return a path as written with ~, ~USER, $NAME and ${NAME} replaced, as a shell does.

    Raises:
        ConfigError: it is empty, or there is no such user or variable.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ConfigError(f"${name} is not set", where=where, fix="set it, or write the path without it")
        return os.environ[name]

    if not text:
        raise ConfigError("the path is empty", where=where, fix="write null for none")
    if "\0" in text:
        raise ConfigError("no path has a NUL in it", where=where)
    home = os.path.expanduser(text)
    if home == text and text.startswith("~"):
        raise ConfigError(f"no such user: {text.partition('/')[0]}", where=where, fix="./~ is a file called so")
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, home)


def plain(path: Path) -> Path:
    """Return the whole path, without . and .. where that leads to the same place."""
    flat = Path(os.path.abspath(path))
    return flat if flat.resolve() == path.resolve() else path.absolute()


def inside(home: Path, text: str) -> str:
    """Return a path as a folder's own files record it: relative where it is inside, so that the folder may move."""
    path, home = plain(home / text), plain(home)
    return str(path.relative_to(home) if path.is_relative_to(home) else path)
