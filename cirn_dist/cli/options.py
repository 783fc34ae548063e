"""What several verbs of the command line share: arguments, options, and the file that `--json` writes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from cirn_dist.config.yamlfile import parse_yaml
from cirn_dist.errors import ConfigError
from cirn_dist.files import replace_text


def _writable(path: Path | None) -> Path | None:
    """Refuse a file that cannot be written before hours of work have made its content."""
    if path is not None and path.is_dir():
        raise ConfigError("is a folder", where=path, fix="give --json the name of a file")
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError("there is no such folder", where=path.parent, fix="make it, or give --json another file")
    return path


Config = Annotated[str, typer.Argument(help="A YAML file, or the name of one that ships.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")]
Json = Annotated[
    Path | None, typer.Option("--json", help="Also write the result to this file.", callback=_writable, metavar="FILE")
]
RecipeOptions = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Replaces a value of the recipe, e.g. count=200 or list=train.txt."),
]
Trained = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, a stage's in it, a checkpoint's, or an exported file.")
]
OfWeights = Annotated[
    str | None,
    typer.Option("--config", metavar="CONFIG", help="For imported weights alone: whose network they are."),
]
OfStage = Annotated[str | None, typer.Option("--stage", help="Of a run; default: the last finished one.")]
OfTeacher = Annotated[bool, typer.Option("--teacher", help="Of online self-training: the teacher, not the student.")]
AlsoOf = Annotated[
    list[Path] | None,
    typer.Option("--also", metavar="RUN", help="Average with this one's probabilities; repeatable. As RUN."),
]
Device = Annotated[str | None, typer.Option(help="Default: the GPU if there is one.")]


def read_size(text: str | None, option: str) -> tuple[int, int] | None:
    """Read an option's WxH.

    Raises:
        ConfigError: it is something else.
    """
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f"{text!r} is no size", where=option, fix="e.g. 1024x512")
    return int(width), int(height)


def recipe_options(words: list[str]) -> dict[str, Any]:
    """Read `--option KEY=VALUE` words, values as YAML.

    Raises:
        ConfigError: a word without a key, or a value that is not YAML.
    """
    options = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError("not an option", where=f"--option {word}", fix="write KEY=VALUE")
        options[key] = parse_yaml(text, f"--option {word}")
    return options


def write_result(path: Path | None, content: Any) -> None:
    """Write what a verb has found as JSON, whole or not at all; nothing where `--json` was not given.

    Args:
        content: plain values, dataclasses or schema models, in any nesting; paths become strings.
    """
    if path is not None:
        replace_text(path, json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
