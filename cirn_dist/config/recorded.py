"""A run's configuration as it is recorded in its folder: what was written is read back, wherever it was moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cirn_dist.config.paths import Key, Tree, named, with_paths
from cirn_dist.config.problems import sections
from cirn_dist.config.schema import Config
from cirn_dist.config.section import Located
from cirn_dist.config.yamlfile import read_mapping, to_yaml
from cirn_dist.errors import ConfigError
from cirn_dist.files import read_json
from cirn_dist.formats import RUN, is_format
from cirn_dist.resources import inside, plain


def dump(config: Config, folder: Path | None = None) -> str:
    """Write a configuration as YAML that `load` reads back to the same settings.

    Args:
        folder: the text is for a file in it: paths inside are written relative to it, so that it may be moved.
    """

    def relative(mark: Located, text: str, key: Key) -> str:
        return text if folder is None or mark.is_word(text) else inside(folder, text)

    return to_yaml(with_paths(config.model_dump(mode="json"), relative))


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
        return named(mark.kind, beside if beside.exists() or not Path(text).exists() else plain(Path(text)))

    return with_paths(read_mapping(file), whole)


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
