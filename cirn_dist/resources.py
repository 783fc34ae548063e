"""Finding the files that are not Python: configs, launch scripts and dataset recipes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cirn_dist.errors import ConfigError, nearest

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
    bundled = next((file for file in (shipped / one / f"{word}.yaml" for one in [*under, ""]) if file.is_file()), None)
    if bundled is not None and (name == Path(word).name or not path.is_file()):
        return bundled
    if path.is_file():
        return path
    names = sorted(
        str(file.relative_to(shipped / under[0]).with_suffix(""))
        for one in under
        for file in (shipped / one).glob("*.yaml")
    )
    raise ConfigError(
        f"no such file, and none of that name in {kind}/", where=path, fix=f"give a path, or {nearest(word, names)}"
    )
