"""Reading a configuration: YAML with `extends`, then `key=value` settings, then the schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from cirn_dist.config.layers import Layers, Setting
from cirn_dist.config.paths import Tree
from cirn_dist.config.problems import Problem, problems
from cirn_dist.config.schema import Config
from cirn_dist.config.yamlfile import read_mapping
from cirn_dist.errors import ConfigError
from cirn_dist.resources import is_there, resource

LAID = ("methods", "presets")  # what is laid on a configuration of data and network


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
    layers = Layers()
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
    layers = Layers()
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


def _lay_file(layers: Layers, path: Path, seen: tuple[Path, ...]) -> None:
    """Lay a file on the files it extends, each of which is laid on the ones before it."""
    if path.resolve() in seen:
        raise ConfigError("extends itself", where=path)
    tree = read_mapping(path)
    parents = tree.pop("extends", None) or []
    for parent in parents if isinstance(parents, list) else [parents]:
        file = resource("configs", str(parent), under=("", *LAID), beside=path.parent)
        _lay_file(layers, file, (*seen, path.resolve()))
    layers.lay(tree, str(path), path.parent)
