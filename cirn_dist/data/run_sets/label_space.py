"""Which classes a run is on: those its configuration names, or its source's."""

from __future__ import annotations

from cirn_dist.config.groups.data import Data, OwnSpace
from cirn_dist.config.schema import Config
from cirn_dist.data.labels import LabelSpace, known_spaces, label_space, own_space
from cirn_dist.data.pack.recipes import load_recipe
from cirn_dist.data.shards.shardset import ShardSet, packed_at
from cirn_dist.errors import ConfigError, nearest
from cirn_dist.files import naming_the_file
from cirn_dist.resources import folder


def run_space(data: Data) -> LabelSpace:
    """Return the label space of a run: the configured one, else that of the source's packed set or recipe.

    Raises:
        ConfigError: no such space or recipe, or neither says what the source's labels are.
    """
    if isinstance(data.label_space, OwnSpace):
        return own_space(data.label_space)
    if data.label_space is not None:
        return named_space(data.label_space)
    source = data.source
    if source.map_labels:
        raise ConfigError(
            "translates into data.label_space, which is null", where="data.source.map_labels", fix="name it"
        )
    packed = packed_at(source.raw, source.split)
    if packed is None:
        return load_recipe(source.recipe, source.options, source.split).space
    found = ShardSet.open(packed).label_space
    if found is None:
        raise ConfigError("holds no labels", where=packed, fix="data.source needs a labelled set")
    return found


def named_space(name: str) -> LabelSpace:
    """Return a known label space, or that of a recipe, which may be named or a path.

    Raises:
        ConfigError: there is none of that name, or the recipe cannot be used.
    """
    shipped = folder("shards") / f"{name}.yaml"
    if name in known_spaces():
        return label_space(name)
    if shipped.is_file() or name.endswith((".yaml", ".yml")) or "/" in name:
        return load_recipe(name).space
    raise ConfigError(
        f"unknown label space {name!r}",
        fix=f"{nearest(name, known_spaces())}; or a recipe, or {{name: ..., classes: [...], palette: [...]}}",
    )


def setting(space: LabelSpace) -> str | OwnSpace:
    """Return a label space as a configuration writes it, so that nothing else is needed to read it."""
    if space.name in known_spaces() and label_space(space.name) == space:
        return space.name
    subsets = {name: tuple(space.classes[i] for i in ids) for name, ids in space.subsets.items()}
    return OwnSpace(name=space.name, classes=space.classes, palette=space.palette, subsets=subsets)


@naming_the_file()
def settled(config: Config) -> Config:
    """Return a configuration whose label space is written out: no file has to be there to read it again.

    Raises:
        ConfigError: as `run_space`.
    """
    space = setting(run_space(config.data))
    return config.model_copy(update={"data": config.data.model_copy(update={"label_space": space})})
