"""One way a dataset lies on disk: patterns of its images' and labels' paths, and how labels are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from cirn_dist.config.section import Section
from cirn_dist.data.labels import Colour

Encoding = Literal["index", "colour", "index_or_colour", "first_channel16"]
_WILDCARD = re.compile(r"(\*\*|\*)")
_PLACE = re.compile(r"\{([^{}]*)\}")


def _colours(value: Any) -> tuple[Colour, ...]:
    """Read one colour, [r, g, b] or "#rrggbb", or a list of colours."""
    if isinstance(value, list | tuple) and value and not all(isinstance(part, int) for part in value):
        return tuple(colour for one in value for colour in _colours(one))
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return ((int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)),)
    if isinstance(value, list | tuple) and len(value) == 3 and all(0 <= part <= 255 for part in value):
        return ((int(value[0]), int(value[1]), int(value[2])),)
    quotes = "; is the '#' in quotes?" if value is None else ""
    raise ValueError(f'a colour is [r, g, b] of 0 to 255, or "#rrggbb"{quotes}')


def _once(value: Any) -> Any:
    """Refuse an id written in two ways, 7 and "7": one would silently replace the other."""
    if isinstance(value, Mapping):
        ids = [str(key) for key in value]
        twice = next((key for place, key in enumerate(ids) if key in ids[:place]), None)
        if twice is not None:
            raise ValueError(f"id {twice} is there twice")
    return value


Id = Annotated[int, Field(ge=0, le=255)]
Ids = Annotated[str | dict[Id, StrictInt | StrictStr], BeforeValidator(_once)]
Colours = Annotated[tuple[Colour, ...], BeforeValidator(_colours)]


class Form(Section):
    """One way the dataset was published: where files are, and how labels are written.

    In `images`, * is any name and ** any path; {split} is the split's name. In `labels`, {1}, {2}, ... are
    what the wildcards matched. Endings are compared without case.
    """

    images: str
    labels: str | None = None
    key: str = "{1}"
    encoding: Encoding = "index"
    ids: Ids = "train_ids"
    colours: str | dict[str, Colours] | None = Field(None, description="null: the label space's palette")

    @field_validator("images", "labels")
    @classmethod
    def _inside(cls, pattern: str | None) -> str | None:
        if pattern is not None and (not pattern or pattern.startswith("/") or ".." in pattern.split("/")):
            raise ValueError("a pattern is a path below the raw folder")
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> Form:
        wildcards = len(_WILDCARD.findall(self.images))
        for name, template in (("labels", self.labels), ("key", self.key)):
            for place in _PLACE.findall(template or ""):
                if place != "split" and not (place.isdigit() and 1 <= int(place) <= wildcards):
                    raise ValueError(f"{name}: {{{place}}}, but `images` has {wildcards} wildcards")
        if wildcards and self.labels and not re.search(r"\{\d+\}", self.labels):
            raise ValueError("labels: without {1} every image would have the same label")
        if self.colours is not None and self.encoding not in ("colour", "index_or_colour"):
            raise ValueError(f"colours are for encoding colour, not {self.encoding}")
        if self.ids != "train_ids" and self.encoding == "colour":
            raise ValueError("ids are for encoding index, not colour")
        return self

    @property
    def static(self) -> str:
        """The folder of `images` that has no wildcards in its path, where its files are looked for."""
        return self.images.split("*")[0].rpartition("/")[0]

    @property
    def static_of_labels(self) -> str:
        """The same folder of `labels`."""
        return (self.labels or "").split("{")[0].rpartition("/")[0]

    def of(self, split: str) -> Form:
        """Return the form with {split} filled in."""
        filled = {
            name: text.replace("{split}", split)
            for name, text in (("images", self.images), ("labels", self.labels), ("key", self.key))
            if text is not None
        }
        return self.model_copy(update=filled)


def image_pattern(form: Form) -> re.Pattern[str]:
    """Return the expression that matches the path of an image; its groups are what the wildcards matched."""
    return re.compile(_ending_without_case(form.images, _WILDCARD, lambda part: f"({_wild(part)})"))


def label_pattern(form: Form) -> re.Pattern[str]:
    """Return the expression that matches the path of a label, whether or not it has an image."""
    wildcards = _WILDCARD.findall(form.images)
    met: set[str] = set()

    def place(part: str) -> str:
        number = part.strip("{}")
        if number in met:
            return f"(?P=g{number})"
        met.add(number)
        return f"(?P<g{number}>{_wild(wildcards[int(number) - 1])})"

    return re.compile(_ending_without_case(form.labels or "", re.compile(r"(\{\d+\})"), place))


def fill(template: str, match: re.Match[str]) -> str:
    """Replace {1}, {2}, ... by what the wildcards matched."""
    return re.sub(r"\{(\d+)\}", lambda place: match.group(int(place.group(1))), template)


def _wild(wildcard: str) -> str:
    return ".*" if wildcard == "**" else "[^/]*"


def _ending_without_case(pattern: str, special: re.Pattern[str], translate: Any) -> str:
    """Translate a pattern; the name's ending, where it is written out, matches in any case."""
    stem, dot, ending = pattern.rpartition(".")
    if not dot or "/" in ending or special.search(ending):
        stem, ending = pattern, ""
    parts = special.split(stem)
    body = "".join(translate(part) if special.fullmatch(part) else re.escape(part) for part in parts)
    return f"(?s:{body})" + (f"(?i:{re.escape(dot + ending)})" if ending else "")
