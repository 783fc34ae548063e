"""Reading a configuration: YAML with `extends`, then `key=value` overrides, then the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cirn_dist.config import Config
from cirn_dist.errors import ConfigError
from cirn_dist.resources import resource
from cirn_dist.yamlfile import parse_yaml, read_mapping, to_yaml

Tree = dict[str, Any]


def load(name: str, overrides: list[str] | None = None) -> Config:
    """Read a configuration by path or by the name of one that ships.

    Args:
        name: a path, or a name in configs/.
        overrides: `dotted.key=value`, the value read as YAML.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a wrong type or a value out of bounds.
    """
    path = resource("configs", name)
    tree = _read(path, ())
    for override in overrides or []:
        _apply(tree, override)
    return parse(tree, where=path)


def parse(tree: Tree, *, where: str | Path) -> Config:
    """Check a tree of settings against the schema.

    Raises:
        ConfigError: names the key and what was expected, every problem in one line.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = [_describe(problem) for problem in error.errors(include_url=False)]
        raise ConfigError("; ".join(problems), where=where) from None


def dump(config: Config) -> str:
    """Write a configuration as YAML that `load` reads back to the same settings."""
    return to_yaml(config.model_dump(mode="json"))


def _describe(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "config"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    message = problem["msg"].removeprefix("Value error, ")
    given = "" if problem["type"] in ("missing", "value_error") else f" (got {problem['input']!r})"
    return f"{key}: {message[0].lower()}{message[1:]}{given}"


def _read(path: Path, seen: tuple[Path, ...]) -> Tree:
    if path.resolve() in seen:
        raise ConfigError("extends itself", where=path)
    tree = read_mapping(path)
    parents = tree.pop("extends", [])
    base: Tree = {}
    for parent in parents if isinstance(parents, list) else [parents]:  # each is laid on the ones before it
        file = resource("configs", str(parent), under=("", "presets"), beside=path.parent)
        base = _merge(base, _read(file, (*seen, path.resolve())))
    return _merge(base, tree)


def _merge(base: Tree, over: Tree) -> Tree:
    """Lay `over` on `base`, mapping by mapping; a domain with another recipe is another domain, and replaces it."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("recipe") in (None, old.get("recipe")):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _apply(tree: Tree, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError("not a setting", where=override, fix="write dotted.key=value")
    value = parse_yaml(text, override)
    *path, last = key.split(".")
    node = tree
    for part in path:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{part} is a value, not a group of settings", where=override)
        node = child
    node[last] = value
