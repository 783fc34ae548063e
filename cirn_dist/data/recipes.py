"""Dataset recipes: YAML that says where a raw dataset's images and labels are and what its labels mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cirn_dist.config import Space
from cirn_dist.data.files import digest
from cirn_dist.data.labels import LabelSpace, label_space, own_space
from cirn_dist.errors import ConfigError, nearest
from cirn_dist.resources import resource
from cirn_dist.yamlfile import read_mapping

Codec = Literal["jpeg95", "png", "webp"]
Encoding = Literal["index", "colour", "index_or_colour", "first_channel16"]
Size = tuple[int, int]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Form(_Section):
    """One way the dataset was published: where files are, and how labels are written.

    In `images`, * is any name and ** any path; {split} is the split's name. In `labels`, {1}, {2}, ... are
    what the wildcards matched.
    """

    images: str
    labels: str | None = None
    key: str = "{1}"
    encoding: Encoding = "index"
    ids: str | dict[int, int | str] = "train_ids"
    colours: str | None = None


class Split(_Section):
    """One split: all of a form's images, or those in a list file or in ranges of keys."""

    forms: tuple[Form, ...] | None = Field(None, description="instead of the recipe's forms")
    label_size: Literal["image", "original"] = Field("image", description="original keeps labels whole, for scoring")
    list: str | None = Field(None, description="a text file in the raw folder: one image per line")
    ranges: tuple[tuple[str, str], ...] | None = Field(None, description="first and last key, inclusive")
    published: int | None = Field(None, description="how many images the dataset's authors published")
    first: int = Field(0, ge=0, description="streets: the first image's index")
    count: int | None = Field(None, ge=1, description="streets: number of images")


class Recipe(_Section):
    """A dataset."""

    name: str
    about: str = ""
    layout: Literal["files", "streets"] = "files"
    label_space: Space | None = Field(None, description="null: whoever packs labels says which classes they hold")
    size: Size | None = Field(None, description="width and height; null keeps each image's own")
    codec: Codec = "jpeg95"
    roots: tuple[str, ...] = ("",)
    forms: tuple[Form, ...] = ()
    splits: dict[str, Split]
    appearance: Literal["synthetic", "photo"] = "synthetic"
    seed: int = 0

    @model_validator(mode="after")
    def _usable_space(self) -> Recipe:
        if self.label_space is not None:
            assert self.space.classes  # one that is not known is refused here
        if self.layout == "streets" and self.label_space != "camvid11":
            raise ValueError("label_space: streets are labelled as camvid11; a run's map_labels translates them")
        return self

    @property
    def space(self) -> LabelSpace:
        """The label space packed labels are in.

        Raises:
            ConfigError: the recipe names none, or there is none of that name.
        """
        if self.label_space is None:
            raise ConfigError(
                "does not say which classes its labels hold",
                where=self.name,
                fix="name a label space: data.label_space in a run, --label-space for pack, or in the recipe",
            )
        return label_space(self.label_space) if isinstance(self.label_space, str) else own_space(self.label_space)

    @property
    def fingerprint(self) -> str:
        """Sha256 of the content."""
        return digest(self.model_dump(mode="json"))

    def split(self, name: str) -> Split:
        """Return a split.

        Raises:
            ConfigError: the recipe has none of that name.
        """
        if name not in self.splits:
            raise ConfigError(f"no split {name!r}", where=self.name, fix=nearest(name, self.splits))
        return self.splits[name]

    def forms_of(self, split: str) -> tuple[Form, ...]:
        """Return the forms to look for, with {split} filled in."""
        forms = self.split(split).forms or self.forms

        def fill(pattern: str | None) -> str | None:
            return pattern.replace("{split}", split) if pattern else None

        return tuple(
            form.model_copy(update={"images": fill(form.images), "labels": fill(form.labels)}) for form in forms
        )


def load_recipe(name: str | Path | Recipe, options: Mapping[str, Any] | None = None, split: str = "train") -> Recipe:
    """Read a recipe by name or path.

    Args:
        name: a name in shards/, or the path of a recipe file.
        options: replace the recipe's own values; count, first and list go to the split.
        split: the one options are for.

    Raises:
        ConfigError: no such recipe, no such split, unknown key, wrong type.
    """
    if isinstance(name, Recipe):
        path, content = Path(name.name), name.model_dump()
    else:
        path = resource("shards", str(name))
        content = read_mapping(path)
    for key, value in (options or {}).items():
        if key in ("count", "first", "list"):
            content.setdefault("splits", {}).setdefault(split, {})[key] = value
        else:
            content[key] = value
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] in ("missing", "value_error") else f" (got {first['input']!r})"
        told = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{place}: {told}{given}".removeprefix(": "), where=path) from error
    return recipe
