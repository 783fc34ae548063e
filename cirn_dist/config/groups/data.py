"""Both domains: their recipes, sizes and splits, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from cirn_dist.choices import Codec
from cirn_dist.config.groups.marks import Byte, NotBinding, Option
from cirn_dist.config.problems import problems
from cirn_dist.config.section import Located, Place, Section, Size


class OwnSpace(Section):
    """A label space of one's own: pixel value i is classes[i], 255 is ignored."""

    name: str = Field(min_length=1, description="how messages and shard sets call it")
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1, max_length=255)
    palette: tuple[tuple[Byte, Byte, Byte], ...] = Field(description="one RGB colour per class")
    subsets: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="named groups of classes whose mean IoU is also given"
    )

    @model_validator(mode="after")
    def _told_apart(self) -> OwnSpace:
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.palette)} palette colours for {len(self.classes)} classes; give one each")
        for what, values in (("class", self.classes), ("colour", self.palette)):
            twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
            if twice is not None:
                raise ValueError(f"the {what} {twice!r} is there twice")
        if "ignore" in self.classes:
            raise ValueError("no class can be called 'ignore': that is what 255 means")
        for subset, names in self.subsets.items():
            unknown = sorted(set(names) - set(self.classes))
            if unknown or not names:
                raise ValueError(f"subset {subset!r} has {f'no class {unknown[0]!r}' if unknown else 'no classes'}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)  # spaces were written without subsets once, and are digested
        return {key: value for key, value in written.items() if key != "subsets" or value}


def _own_space(value: object) -> object:
    """Read a mapping as an OwnSpace alone: its mistakes are told, not that it is no name either."""
    if not isinstance(value, Mapping):
        return value
    try:
        return OwnSpace.model_validate(value)
    except ValidationError as error:
        raise ValueError("; ".join(map(str, problems(error, OwnSpace)))) from None


Space = Annotated[str | OwnSpace, BeforeValidator(_own_space)]


class Domain(Section):
    """One domain: a dataset recipe and where its raw files are."""

    recipe: Annotated[str, Located(kind="shards")] = Field(
        min_length=1, description="a name in shards/ or the path of a recipe file"
    )
    raw: NotBinding[Place] = Field(None, description="the raw dataset's folder; procedural recipes need none")
    size: Size = Field(description="width and height the images are packed and trained at")
    split: str = "train"
    options: dict[str, Option] = Field(default_factory=dict, description="recipe options for the training split")
    score_split: str | None = Field(None, description="a labelled split used for scoring only")
    score_options: dict[str, Option] = Field(default_factory=dict)
    score_raw: NotBinding[Place] = Field(
        None, description="the folder of the scored images, where it is another than raw"
    )
    map_labels: dict[str, str] | None = Field(
        None, description="labels of another space: its class -> data.label_space's; {} where equal names are enough"
    )


class Data(Section):
    """Both domains and how they are read."""

    label_space: Annotated[Space | None, Located(kind="shards")] = Field(
        None, description="cityscapes19, synthia16, camvid11, a recipe, or {name, classes, palette}; null: the source's"
    )
    source: Domain
    target: Domain
    packed: NotBinding[Place] = Field(
        None,
        description="a folder of packed sets that runs share, each packed there once; null: the run's own",
    )
    codec: Codec = "jpeg95"
    shard_mb: float = Field(128, gt=0, description="size at which a shard is closed; ranks render whole shards")
    workers: NotBinding[int] = Field(2, ge=0, description="loader processes per rank")
    window: int = Field(16, ge=1, description="shards pooled when the order is shuffled")
    max_bad: NotBinding[int] = Field(10, ge=0, description="unreadable samples replaced before the run ends")
