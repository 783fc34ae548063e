"""What settings are made of: groups that refuse unknown keys and impossible numbers, paths, and sizes of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from cirn_dist.resources import Kind


def _numbers_only(annotation: Any) -> bool:
    """Whether a type has numbers in it, and neither text nor truth values nor anything."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    parts = [part for part in get_args(annotation) if part is not type(None) and part is not ...]
    return all(_numbers_only(part) for part in parts) if parts else annotation in (int, float)


class Section(BaseModel):
    """A group of settings; unknown keys and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false where only numbers are meant, which take them for 1 and 0."""
        field = cls.model_fields[str(info.field_name)]
        values = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, bool) for one in values) and _numbers_only(field.annotation):
            raise ValueError(f"must be a number (got {value!r})")
        return value


@dataclass(frozen=True)
class Located:
    """Mark of a setting that is a file or folder: relative to where it was written, with ~ and $NAME expanded.

    Attributes:
        words: what is no path but stands for something else.
        kind: of YAML files, of which some ship: a bare word is the name of one, not a path.
    """

    words: tuple[str, ...] = ()
    kind: Kind | None = None

    def is_word(self, text: str) -> bool:
        """Whether the value is no path."""
        bare = "/" not in text and not text.startswith(("~", "$")) and not text.endswith((".yaml", ".yml"))
        return text in self.words or (self.kind is not None and bare)


Place = Annotated[Path | None, Located()]
SMALLEST, LARGEST = 8, 65_535  # pixels: a feature of the backbones, which a crop must have; the side of a JPEG
Side = Annotated[int, Field(ge=1, le=LARGEST)]
Size = tuple[Side, Side]  # width, height, in pixels, as the paper writes them
CropSide = Annotated[int, Field(ge=SMALLEST, le=LARGEST)]
Scale = Annotated[float, Field(ge=0.1, le=16)]  # of an image's width and height
Beta = Annotated[float, Field(ge=0, lt=1)]  # of Adam's running means
