"""Reading a configuration: YAML with `extends`, then `key=value` settings, then the schema; and recording it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cirn_dist.config.problems import Problem, problems, sections
from cirn_dist.config.schema import Config
from cirn_dist.config.section import Located
from cirn_dist.config.yamlfile import parse_yaml, read_mapping, to_yaml
from cirn_dist.errors import ConfigError
from cirn_dist.files import read_json
from cirn_dist.formats import RUN, is_format
from cirn_dist.resources import Kind, expanded, folder, inside, is_there, plain, resource

Tree = dict[str, Any]
LAID = ("methods", "presets")  # what is laid on a configuration of data and network
Key = tuple[str, ...]


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


def load(name: str, overrides: Sequence[str | Setting] = ()) -> Config:
    """Read a configuration by path or by the name of one that ships.

    Args:
        name: a path, or a name in configs/; `NAME+METHOD` lays methods or presets on it, and calls the run so.
        overrides: `dotted.key=value` from the command line, or settings from elsewhere; the last counts.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a wrong type or a value out of bounds; names who wrote it.
    """
    base, *methods = named_parts(name)
    path = resource("configs", base)
    layers = _Layers()
    _lay_file(layers, path, ())
    for method in methods:
        _lay_file(layers, resource("configs", method, under=LAID), ())
        layers.set(Setting(("name",), f"{layers.tree.get('name', 'run')}-{Path(method).stem}"))
    for override in overrides:
        layers.set(override if isinstance(override, Setting) else Setting.read(override))
    return parse(layers.tree, where=path, blame=layers.writer)


def named_parts(name: str) -> list[str]:
    """Return what `NAME+METHOD+...` names; a file's own name may have a plus in it."""
    parts = name.split("+")
    for count in range(len(parts), 1, -1):
        if is_there(Path(head := "+".join(parts[:count]))):
            return [head, *parts[count:]]
    return parts


def stated(method: str) -> Tree:
    """Return what a file of configs/methods or configs/presets says, with what it extends, unchecked.

    Raises:
        ConfigError: there is no such file.
    """
    layers = _Layers()
    _lay_file(layers, resource("configs", method, under=LAID), ())
    return layers.tree


def parse(tree: Tree, *, where: str | Path, blame: Callable[[Problem], str | None] = lambda _: None) -> Config:
    """Check a tree of settings against the schema.

    Args:
        blame: says who wrote what is wrong, where it was not `where`.

    Raises:
        ConfigError: names the key and what was expected, every problem in one line.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        found = [(blame(problem) or str(where), problem) for problem in problems(error, Config)]
        places = {place for place, _ in found}
        if len(places) == 1:
            raise ConfigError("; ".join(str(problem) for _, problem in found), where=places.pop()) from None
        raise ConfigError("; ".join(f"{place}: {problem}" for place, problem in found)) from None


def dump(config: Config, folder: Path | None = None) -> str:
    """Write a configuration as YAML that `load` reads back to the same settings.

    Args:
        folder: the text is for a file in it: paths inside are written relative to it, so that it may be moved.
    """

    def relative(mark: Located, text: str, key: Key) -> str:
        return text if folder is None or mark.is_word(text) else inside(folder, text)

    return to_yaml(_with_paths(config.model_dump(mode="json"), relative))


def recorded(file: Path) -> Tree:
    """Return the settings that `dump` has written into a file, with whole paths.

    Older versions wrote relative paths as they were given, relative to the working directory: where there is nothing
    beside the file, they are taken so.

    Raises:
        ConfigError: not YAML, or not a mapping; or the run beside it is of a later version.
    """
    facts = file.with_name("run.json")
    if facts.is_file() and isinstance(said := read_json(facts), dict):
        is_format(said.get("format"), RUN, file.parent, ConfigError)

    def whole(mark: Located, text: str, key: Key) -> str:
        if mark.is_word(text):
            return text
        beside = plain(file.parent / text)
        return _named(mark.kind, beside if beside.exists() or not Path(text).exists() else plain(Path(text)))

    return _with_paths(read_mapping(file), whole)


def followed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, {dotted key: value}, what was moved since under its present path: gone, of one name.

    Args:
        before: as they were recorded.
        now: as they are given.
    """
    paths = {
        ".".join((*at, name))
        for at, section in sections(Config)
        for name, field in section.model_fields.items()
        if any(isinstance(one, Located) for one in field.metadata)
    }

    def moved(key: str) -> bool:
        was, given = before[key], now.get(key)
        if not (key in paths and isinstance(was, str) and isinstance(given, str)):
            return False
        return Path(was).name == Path(given).name and not Path(was).exists() and Path(given).exists()

    return {key: now[key] if moved(key) else value for key, value in before.items()}


class _Layers:
    """Settings laid on one another, and who wrote each."""

    def __init__(self) -> None:
        self.tree: Tree = {}
        self._writers: dict[Key, str] = {}  # of values; not of groups, which many may write to
        self._order: list[str] = []

    def lay(self, over: Tree, writer: str, beside: Path) -> None:
        """Lay a file's settings over those before it, group by group."""
        self._began(writer)
        self._lay(self.tree, _with_paths(over, _locating(writer, beside)), writer, ())

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
        tree = _with_paths(tree, _locating(setting.place, setting.beside))
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


def _lay_file(layers: _Layers, path: Path, seen: tuple[Path, ...]) -> None:
    """Lay a file on the files it extends, each of which is laid on the ones before it."""
    if path.resolve() in seen:
        raise ConfigError("extends itself", where=path)
    tree = read_mapping(path)
    parents = tree.pop("extends", None) or []
    for parent in parents if isinstance(parents, list) else [parents]:
        file = resource("configs", str(parent), under=("", *LAID), beside=path.parent)
        _lay_file(layers, file, (*seen, path.resolve()))
    layers.lay(tree, str(path), path.parent)


def _locating(writer: str, beside: Path) -> Callable[[Located, str, Key], str]:
    """Return what makes a path whole that was written in a file in the folder `beside`."""

    def locate(mark: Located, text: str, key: Key) -> str:
        if mark.is_word(text):
            return text
        text = expanded(text, where=f"{writer}: {'.'.join(key)}")
        path = beside / text
        if mark.kind is not None and not is_there(path):
            with suppress(ConfigError):  # told where it is needed
                path = resource(mark.kind, text, beside=beside)
        return _named(mark.kind, plain(path))

    return locate


def _named(kind: Kind | None, path: Path) -> str:
    """Return a path; of a file that ships its name, which is the same wherever the package lies."""
    shipped = None if kind is None else plain(folder(kind))
    return path.stem if path.parent == shipped else str(path)


def _with_paths(tree: Tree, change: Callable[[Located, str, Key], str]) -> Tree:
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
