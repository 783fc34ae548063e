"""Dataset recipes: YAML that says where a raw dataset's images and labels are and what its labels mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from cirn_dist.choices import Appearance, Codec, LabelSize
from cirn_dist.config.groups.data import Space
from cirn_dist.config.problems import problems
from cirn_dist.config.section import Section, Size
from cirn_dist.config.yamlfile import read_mapping
from cirn_dist.data.labels import LabelSpace, label_space, own_space
from cirn_dist.data.pack.forms import Form
from cirn_dist.data.pack.id_maps import colour_map, id_map
from cirn_dist.data.streets import RENDERER
from cirn_dist.errors import ConfigError, nearest
from cirn_dist.files import digest
from cirn_dist.resources import resource

_OF_SPLIT = {"files": ("count", "list"), "streets": ("count", "first")}
_OF_RECIPE = {
    "files": ("label_space", "codec", "size", "roots", "max_left_out"),
    "streets": ("label_space", "codec", "size", "appearance", "seed"),
}


class Split(Section):
    """One split: all of a form's images, or those in a list file or in ranges of keys."""

    forms: tuple[Form, ...] | None = Field(None, description="instead of the recipe's forms")
    label_size: LabelSize = Field("image", description="original keeps labels whole, for scoring")
    list: str | None = Field(None, description="a text file in the raw folder: one image per line")
    ranges: tuple[tuple[str, str], ...] | None = Field(None, description="first and last key, inclusive")
    published: int | None = Field(None, ge=1, description="how many images the dataset's authors published")
    first: int = Field(0, ge=0, description="streets: the first image's index")
    count: int | None = Field(None, ge=1, description="that many of the images, mixed; streets: number of images")

    @field_validator("ranges")
    @classmethod
    def _ascending(cls, ranges: tuple[tuple[str, str], ...] | None) -> tuple[tuple[str, str], ...] | None:
        for first, last in ranges or ():
            if first > last:
                raise ValueError(f"{first} comes after {last}")
        return ranges


class Recipe(Section):
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
    appearance: Appearance = "synthetic"
    seed: int = Field(0, ge=0)
    max_left_out: float = Field(
        0.1, ge=0, le=1, description="share of the images that may be left out for a label of another size"
    )

    @field_validator("splits", mode="before")
    @classmethod
    def _empty(cls, splits: Any) -> Any:
        return {name: part or {} for name, part in splits.items()} if isinstance(splits, Mapping) else splits

    @field_validator("roots")
    @classmethod
    def _inside(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        if not roots or any(root.startswith("/") or ".." in root.split("/") for root in roots):
            raise ValueError("roots are folders below the raw folder")
        return roots

    @model_validator(mode="after")
    def _of_one_layout(self) -> Recipe:
        splits = self.splits.values()
        if self.layout == "files":
            unused = {"appearance": self.appearance != "synthetic", "seed": self.seed != 0}
            unused["first"] = any(split.first for split in splits)
        else:
            unused = {"forms": bool(self.forms or any(split.forms for split in splits)), "roots": self.roots != ("",)}
            unused |= {key: any(getattr(split, key) is not None for split in splits) for key in ("list", "ranges")}
        for key in (key for key, given in unused.items() if given):
            raise ValueError(f"{key}: layout {self.layout} does not use it")
        return self

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
                fix="name a label space: data.label_space in a run, --space for pack, or in the recipe",
            )
        return label_space(self.label_space) if isinstance(self.label_space, str) else own_space(self.label_space)

    @property
    def fingerprint(self) -> str:
        """Sha256 of the content that decides what is packed.

        Without a label space no label is packed. `folder`, the one recipe that may be without, said camvid11 once;
        sets packed then still open.
        """
        content = self.model_dump(mode="json", exclude={"max_left_out"})
        return digest({**content, "label_space": content["label_space"] or "camvid11"})

    @property
    def renderer(self) -> int | None:
        """Which version of the renderer draws the images; None where they are files."""
        return RENDERER if self.layout == "streets" else None

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
        return tuple(form.of(split) for form in self.split(split).forms or self.forms)


def load_recipe(name: str | Path | Recipe, options: Mapping[str, Any] | None = None, split: str = "train") -> Recipe:
    """Read a recipe by name or path.

    Args:
        name: a name in shards/, or the path of a recipe file.
        options: replace the recipe's own values; count, first and list go to the split.
        split: the one options are for.

    Raises:
        ConfigError: no such recipe, no such split, unknown key, wrong type, an id or colour of no class.
    """
    if isinstance(name, Recipe):
        path, content = Path(name.name), name.model_dump()
    else:
        path = resource("shards", str(name))
        content = read_mapping(path)
    given = _with_options(content, options or {}, split, path)
    try:
        recipe = Recipe.model_validate(given)
    except ValidationError as error:
        found = problems(error, Recipe)
        option = next((key for key in options or {} if any(key in one.key for one in found)), None)
        where = f"option {option} of {path.stem}" if option else path
        raise ConfigError("; ".join(map(str, found)), where=where) from None
    if options:
        recipe.split(split)
    _check_maps(recipe, path)
    return recipe


def _with_options(content: Mapping[str, Any], options: Mapping[str, Any], split: str, path: Path) -> dict[str, Any]:
    """Lay packing options on a recipe's content.

    Raises:
        ConfigError: an option that this kind of recipe does not have.
    """
    given = dict(content)
    layout = "streets" if content.get("layout") == "streets" else "files"
    for key, value in options.items():
        if key in _OF_SPLIT[layout]:
            splits = given.get("splits")
            part = (splits.get(split) or {}) if isinstance(splits, Mapping) and split in splits else None
            if isinstance(part, Mapping):  # else the recipe itself is refused
                given["splits"] = {**given["splits"], split: {**part, key: value}}
        elif key in _OF_RECIPE[layout]:
            given[key] = value
        else:
            known = (*_OF_SPLIT[layout], *_OF_RECIPE[layout])
            kind = "rendered images" if layout == "streets" else "files"
            raise ConfigError(f"{key} is no option of a recipe of {kind}", where=path, fix=nearest(key, known))
    return given


def _check_maps(recipe: Recipe, path: Path) -> None:
    """Refuse ids and colours of classes that the label space has not, before anything is packed."""
    if recipe.label_space is None:
        return
    for form in (*recipe.forms, *(form for split in recipe.splits.values() for form in split.forms or ())):
        if form.labels is None:
            continue
        key = "ids"
        try:
            if form.encoding != "colour":
                id_map(form.ids, recipe.space)
            key = "colours"
            if form.encoding in ("colour", "index_or_colour"):
                colour_map(form.colours, recipe.space)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error.what}", where=path, fix=error.fix) from None
