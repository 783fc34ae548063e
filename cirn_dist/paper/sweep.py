"""Sweeps: a plain YAML file of base configurations, values and seeds, expanded to one run per point.

A point is a pure function of the file and its index, so that a job array can start it by its number. Seeds vary
slowest: more of them add points at the end, and those there are keep their indices and names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from cirn_dist.config.layers import Setting
from cirn_dist.config.load import named_parts
from cirn_dist.config.problems import validated
from cirn_dist.config.section import Section
from cirn_dist.config.yamlfile import read_mapping, to_yaml
from cirn_dist.errors import ConfigError
from cirn_dist.resources import is_shipped, resource

NO_NAME = r"[^\w.-]+"  # what the name of a run may not have in it


class Sweep(Section):
    """A sweep file: every base with every combination of the values, for every seed."""

    bases: tuple[str, ...] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict, description="dotted key -> value, the same in all points")
    over: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict, description="dotted key -> values, the last varies fastest"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1)


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        name: of the run and its folder.
        base: the configuration.
        values: what the sweep varies, by dotted key, without the seed.
        overrides: what to load the configuration with.
        file: the sweep's, which the overrides are written in.
    """

    name: str
    base: str
    seed: int
    values: dict[str, Any]
    overrides: tuple[str, ...]
    file: str

    @property
    def settings(self) -> list[Setting]:
        """The overrides as they stand in the sweep's file, which their paths are relative to."""
        return [Setting.read(text, self.file, Path(self.file).parent) for text in self.overrides]

    @property
    def setting(self) -> str:
        """The varied values in short, e.g. `k 2`."""
        return ", ".join(f"{short(key)} {to_yaml(value, flow=True)}" for key, value in self.values.items())


def points(name: str, seeds: Sequence[int] = ()) -> list[Point]:
    """Return the points of a sweep, by path or by its name in configs/sweeps.

    Args:
        seeds: in place of the file's.

    Raises:
        ConfigError: no such file, not a sweep, or two points that are the same.
    """
    path = resource("configs", name, under=("sweeps",))
    sweep = validated(Sweep, read_mapping(path), where=path)
    bases = [_base(base, path) for base in sweep.bases]
    combinations = itertools.product(*sweep.over.values())
    chosen = [dict(zip(sweep.over, values, strict=True)) for values in combinations]
    found = [
        _point(base, seed, sweep.settings, values, path)
        for seed in seeds or sweep.seeds
        for base in bases
        for values in chosen
    ]
    names = [point.name for point in found]
    for one in names:
        if names.count(one) > 1:
            raise ConfigError(f"two points are {one}", where=path, fix="give every base, value and seed once")
    return found


def point(name: str, index: int, seeds: Sequence[int] = ()) -> Point:
    """Return one point of a sweep.

    Raises:
        ConfigError: as `points`, or there is no such index.
    """
    found = points(name, seeds)
    if not 0 <= index < len(found):
        raise ConfigError(f"no point {index}", where=name, fix=f"it has {len(found)}: 0 to {len(found) - 1}")
    return found[index]


def short(key: str) -> str:
    """Return the last part of a dotted key."""
    return key.rpartition(".")[2]


def _base(name: str, file: Path) -> str:
    """Return a base as it is loaded: the name of one that ships, or the path of one beside the sweep, with methods."""
    first, *methods = [name] if (file.parent / name).is_file() else named_parts(name)
    whole = first if is_shipped("configs", first) else str(resource("configs", first, beside=file.parent))
    return "+".join([whole, *methods])


def _point(base: str, seed: int, settings: dict[str, Any], values: dict[str, Any], file: Path) -> Point:
    tags = [f"{short(key)}{re.sub(NO_NAME, '-', str(value).lower()).strip('-')}" for key, value in values.items()]
    stems = [re.sub(NO_NAME, "-", Path(part).stem) for part in named_parts(base)]
    name = "-".join([*stems, *tags, f"seed{seed}"])
    given = settings | values | {"seed": seed, "name": name}
    overrides = tuple(f"{key}={to_yaml(value, flow=True)}" for key, value in given.items())
    return Point(name, base, seed, values, overrides, str(file))
