"""Finding the files that are not Python: configs, launch scripts and dataset recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cirn_dist.errors import ConfigError

Kind = Literal["configs", "launch", "shards"]

_PACKAGE = Path(__file__).parent


def folder(kind: Kind) -> Path:
    """Return the folder of that kind: the checkout's own, or the one inside the installed wheel."""
    checkout = _PACKAGE.parent / kind
    return checkout if checkout.is_dir() else _PACKAGE / "_data" / kind


def resource(kind: Kind, name: str) -> Path:
    """Find a YAML file by path, or by name among the files the package ships.

    Raises:
        ConfigError: no such file; lists the names that exist.
    """
    given = Path(name)
    if given.is_file():
        return given
    shipped = folder(kind)
    bundled = shipped / f"{name.removesuffix('.yaml').removeprefix(kind + '/')}.yaml"
    if bundled.is_file():
        return bundled
    names = ", ".join(sorted(str(path.relative_to(shipped).with_suffix("")) for path in shipped.rglob("*.yaml")))
    raise ConfigError(
        f"no such file, and none of that name in {kind}/", where=name, fix=f"give a path or one of: {names}"
    )
