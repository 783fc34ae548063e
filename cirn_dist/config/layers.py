"""Settings laid on one another, file by file and one by one, and who wrote each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cirn_dist.config.paths import Key, Tree, locating, with_paths
from cirn_dist.config.problems import Problem
from cirn_dist.config.yamlfile import parse_yaml, to_yaml
from cirn_dist.errors import ConfigError


@dataclass(frozen=True)
class Setting:
    """One setting that is laid on a configuration's files.

    Attributes:
        place: who wrote it, for errors: the command line, or a file.
        beside: the folder that a path is relative to.
    """

    key: Key
    value: Any
    place: str = "command line"
    beside: Path = Path()

    @classmethod
    def read(cls, text: str, place: str = "command line", beside: Path = Path()) -> Setting:
        """Read `dotted.key=value`, the value as YAML.

        Raises:
            ConfigError: it is none, or the value is not YAML.
        """
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError("not a setting", where=text, fix="write dotted.key=value")
        return cls(tuple(key.split(".")), parse_yaml(value, text), place, beside)

    def __str__(self) -> str:
        return f"{'.'.join(self.key)}={to_yaml(self.value, flow=True)}"


class Layers:
    """Settings laid on one another, and who wrote each."""

    def __init__(self) -> None:
        self.tree: Tree = {}
        self._writers: dict[Key, str] = {}  # of values; not of groups, which many may write to
        self._order: list[str] = []

    def lay(self, over: Tree, writer: str, beside: Path) -> None:
        """Lay a file's settings over those before it, group by group."""
        self._began(writer)
        self._lay(self.tree, with_paths(over, locating(writer, beside)), writer, ())

    def set(self, setting: Setting) -> None:
        """Replace one setting, or a whole group of them."""
        self._began(setting.place)
        node, place = self.tree, setting.place if setting.place != "command line" else str(setting)
        *path, last = setting.key
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{part} is a value, not a group of settings", where=place)
        tree: Tree = {last: setting.value}
        for part in reversed(path):
            tree = {part: tree}
        tree = with_paths(tree, locating(setting.place, setting.beside))
        for part in path:
            tree = tree[part]
        if last == "recipe" and node.get(last) != tree[last]:
            self._drop_options(node, setting)
        self._write(node, last, tree[last], setting.place, setting.key)

    def _drop_options(self, domain: Tree, setting: Setting) -> None:
        """Drop the options of the recipe that another replaces; those that are written where it is are its own."""
        for group in ("options", "score_options"):
            at = (*setting.key[:-1], group)
            given = domain.get(group)
            if isinstance(given, dict):
                domain[group] = {
                    key: value for key, value in given.items() if self._writers.get((*at, str(key))) == setting.place
                }

    def writer(self, problem: Problem) -> str | None:
        """Return who wrote the setting that is wrong; of several that contradict each other, who wrote last."""
        if problem.key:
            named = [problem.key]
        else:
            named = [tuple(key.split(".")) for key in re.findall(r"\w+(?:\.\w+)+", problem.said)]
        writers = (by for key, by in self._writers.items() if any(_overlap(key, one) for one in named))
        return max(writers, key=self._order.index, default=None)

    def _began(self, writer: str) -> None:
        if writer in self._order:
            self._order.remove(writer)
        self._order.append(writer)

    def _lay(self, node: Tree, over: Tree, writer: str, at: Key) -> None:
        """Lay `over` on `node`, mapping by mapping; a domain with another recipe is another domain, and replaces it."""
        for key, value in over.items():
            old = node.get(key)
            if isinstance(value, dict) and isinstance(old, dict) and value.get("recipe") in (None, old.get("recipe")):
                self._lay(old, value, writer, (*at, str(key)))
            else:
                self._write(node, key, value, writer, (*at, str(key)))

    def _write(self, node: Tree, key: Any, value: Any, writer: str, at: Key) -> None:
        self._writers = {one: by for one, by in self._writers.items() if one[: len(at)] != at}
        if isinstance(value, dict) and value:
            node[key] = {}
            self._lay(node[key], value, writer, at)
        else:
            node[key] = value
            self._writers[at] = writer


def _overlap(one: Key, other: Key) -> bool:
    """Whether two keys are the same, or one is of a group, or of an item, that the other is in."""
    return all(a == b for a, b in zip(one, other, strict=False))
