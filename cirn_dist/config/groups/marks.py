"""What settings are marked with, and kinds of values that several groups have."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

Option = int | float | str | bool | None
# An iteration is one image of each domain: numbers of them count images, and a step takes engine.images_per_step.
Iterations = Annotated[int, "iterations"]
_Value = TypeVar("_Value")
# A setting of how a run is executed, not of what it computes: it may change between two starts.
NotBinding = Annotated[_Value, "not binding"]
Byte = Annotated[int, Field(ge=0, le=255)]
BlurRadius = Annotated[float, Field(gt=0, le=100)]
