"""Sweeps: a plain YAML file of base configurations and values, expanded to one run per point.

A point is a pure function of the file and its index, so that a job array can start it by its number.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from cirn_dist.config import Section
from cirn_dist.errors import ConfigError
from cirn_dist.resources import resource


class Sweep(Section):
    """A sweep file: every base with every combination of the values."""

    bases: tuple[str, ...] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict, description="dotted key -> value, the same in all points")
    over: dict[str, tuple[Any, ...]] = Field(min_length=1, description="dotted key -> values, the last varies fastest")


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its name, its configuration, and the overrides to load it with."""

    name: str
    base: str
    overrides: tuple[str, ...]


def points(name: str) -> list[Point]:
    """Return the points of a sweep, by path or by its name in configs/sweeps.

    Raises:
        ConfigError: no such file, or not a sweep.
    """
    path = Path(name) if Path(name).is_file() else resource("configs", f"sweeps/{name.removeprefix('sweeps/')}")
    try:
        sweep = Sweep.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"not a sweep: {error}", where=path, fix="write bases, over and settings") from None
    combinations = itertools.product(*sweep.over.values())
    chosen = [dict(zip(sweep.over, values, strict=True)) for values in combinations]
    return [_point(base, sweep.settings, values) for base in sweep.bases for values in chosen]


def _point(base: str, settings: dict[str, Any], values: dict[str, Any]) -> Point:
    tags = [f"{key.rpartition('.')[2]}{str(value).lower()}" for key, value in values.items()]
    name = "-".join([base, *tags])
    given = settings | values | {"name": name}
    return Point(name, base, tuple(f"{key}={_text(value)}" for key, value in given.items()))


def _text(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
