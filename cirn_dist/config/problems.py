"""What a schema finds wrong, in the user's words: the key, what was expected, what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import Repr
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cirn_dist.errors import ConfigError, nearest

_short = Repr()
_short.maxstring = _short.maxother = 80


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        key: the parts of the setting's dotted key; empty where several settings contradict each other.
        said: what is wrong with it.
    """

    key: tuple[str, ...]
    said: str

    def __str__(self) -> str:
        return f"{'.'.join(self.key)}: {self.said}" if self.key else self.said


Model = TypeVar("Model", bound=BaseModel)


def validated(schema: type[Model], content: Any, *, where: str | Path) -> Model:
    """Check what a file holds against a schema.

    Raises:
        ConfigError: names every key that is wrong, and what was expected, in one line.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise ConfigError("; ".join(map(str, problems(error, schema))), where=where) from None


def problems(error: ValidationError, schema: type[BaseModel]) -> list[Problem]:
    """Return what is wrong with settings, one problem for each key, and none for a group that holds it."""
    by_key: dict[tuple[str, ...], list[Any]] = {}
    for found in error.errors(include_url=False):
        key = _key(schema, found["loc"], unknown=found["type"] == "extra_forbidden")
        by_key.setdefault(key, []).append(found)
    inner = {key[:length] for key in by_key for length in range(1, len(key))}
    return [Problem(key, _said(schema, key, found)) for key, found in by_key.items() if key not in inner]


def sections(schema: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Yield every group of settings of a schema with the key it is at, the whole schema first."""
    yield at, schema
    for name, field in schema.model_fields.items():
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from sections(kind, (*at, name))


def _said(schema: type[BaseModel], key: tuple[str, ...], found: Sequence[Any]) -> str:
    first = next((one for one in found if one["type"] == "finite_number"), found[0])
    if first["type"] == "extra_forbidden":
        return f"unknown key; {_meant(schema, key)}"
    mapping = [one for one in found if one["type"] != "string_type" or not isinstance(one["input"], Mapping)]
    found = mapping or found  # a mapping was not meant to be the name that it may be instead
    messages = [first["msg"]] if first["type"] == "finite_number" else [one["msg"] for one in found]
    text = " or ".join(dict.fromkeys(_plain(message) for message in messages)).replace(" or input should be ", " or ")
    if first["type"] == "missing":
        return "missing"
    if first["type"] == "value_error":
        return text
    advice, given = "", first["input"]
    if first["type"] == "literal_error" and isinstance(given, str):
        near = nearest(given, re.findall(r"'([^']*)'", first["ctx"]["expected"]))
        advice = f"; {near}" if near.startswith("did") else ""
    elif first["type"] == "string_type" and len(found) == 1 and isinstance(given, int | float):
        advice = "; put text that looks like a number in quotes"
    return f"{text} (got {_short.repr(given)}){advice}"


def _plain(message: str) -> str:
    if "instance of" in message:
        return "must be a group of settings"
    message = message.removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


def _meant(schema: type[BaseModel], key: tuple[str, ...]) -> str:
    """Return what an unknown key was probably meant to be: in its own section, or by the same name in another."""
    *place, last = key
    found = dict(sections(schema))
    here = found.get(tuple(place))
    advice = nearest(last, here.model_fields if here is not None else ())
    elsewhere = [".".join((*at, last)) for at, section in found.items() if last in section.model_fields]
    return f"did you mean {' or '.join(elsewhere)}?" if elsewhere and not advice.startswith("did") else advice


def _key(schema: type[BaseModel], location: Sequence[str | int], *, unknown: bool) -> tuple[str, ...]:
    """Return the parts of a location that the user has written: without the members of unions that were tried."""
    kinds: list[Any] = [schema]
    key = []
    several = False
    for part in location:
        if several:  # pydantic's own name of the member that it tried
            several = False
            continue
        inside = [one for kind in kinds for one in _inside(kind, part)]
        if inside:
            key.append(str(part))
            kinds = [one for kind in inside for one in _kinds(kind) if one is not NoneType]
            several = len(kinds) > 1
    return (*key, str(location[-1])) if unknown else tuple(key)


def _inside(kind: Any, part: str | int) -> list[Any]:
    """Return the type of one part of a type; nothing where it has no such part."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind.model_fields[part].annotation] if part in kind.model_fields else []
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [arguments[1]]
    if isinstance(part, int) and origin in (tuple, list):
        return [arguments[min(part, len(arguments) - 1)] if arguments[-1] is not ... else arguments[0]]
    return []


def _kinds(annotation: Any) -> list[Any]:
    """Return the members of a union, or the type itself, without its annotations."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [one for member in get_args(annotation) for one in _kinds(member)]
    return [annotation]
