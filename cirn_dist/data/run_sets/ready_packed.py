"""A packed set in the place of a raw folder: where it is, and whether it is what the settings call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from cirn_dist.config.groups.data import Data, Domain
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.pack.recipes import Recipe, load_recipe
from cirn_dist.data.run_sets.label_space import setting
from cirn_dist.data.shards.shardset import ShardSet, packed_at, space_from_json
from cirn_dist.errors import ConfigError

Role = Literal["source", "target", "scored"]


def roles(data: Data) -> tuple[Role, ...]:
    """Return the sets a run reads."""
    return ("source", "target", "scored") if data.target.score_split else ("source", "target")


def domain_of(data: Data, role: Role) -> Domain:
    """Return the settings of a set's domain."""
    return data.source if role == "source" else data.target


def raw_of(data: Data, role: Role) -> Path | None:
    """Return the folder a set's images are in; scored ones may have their own."""
    domain = domain_of(data, role)
    return domain.score_raw or domain.raw if role == "scored" else domain.raw


def split_of(data: Data, role: Role) -> str:
    """Return the split a set is."""
    domain = domain_of(data, role)
    return (domain.score_split if role == "scored" else domain.split) or domain.split


def recipe_of(data: Data, role: Role, space: LabelSpace | None) -> Recipe:
    """Return the recipe a set is packed by; one that does not say what its labels are has the run's classes.

    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    domain = domain_of(data, role)
    options = domain.score_options if role == "scored" else domain.options
    recipe = load_recipe(domain.recipe, options, split_of(data, role))
    if role != "target" and recipe.label_space is None and space is not None:
        recipe = recipe.model_copy(update={"label_space": setting(space)})
    return recipe


def stand_in(data: Data, role: Role) -> ShardSet | None:
    """Open the packed set that a domain's folder is, or holds for the split; None where there are raw files.

    Target images come without their labels, if the set has any.

    Raises:
        ConfigError: it is another recipe's, another split, or of another size.
        DataError: it cannot be opened.
    """
    split = split_of(data, role)
    path = packed_at(raw_of(data, role), split)
    if path is None:
        return None
    shards = ShardSet.open(path)
    _assert_meant(shards, data, role)
    return shards.without_labels() if role == "target" else shards


def packed_otherwise(shards: ShardSet, data: Data, role: Role) -> str:
    """Say that a set was packed with other options, text or renderer of its recipe; empty where it was not."""
    made, domain = shards.meta["made"], domain_of(data, role)
    if "recipe_sha256" not in made:
        return ""
    recipe, space = recipe_of(data, role, None), space_from_json(shards.meta["label_space"])
    if recipe.label_space is None and space is not None:
        recipe = recipe.model_copy(update={"label_space": setting(space)})
    if recipe.fingerprint == made["recipe_sha256"]:
        drawn = made.get("renderer")
        return "" if drawn == recipe.renderer else f"{shards.path} was rendered by another version of {recipe.name}"
    options = domain.score_options if role == "scored" else domain.options
    given = f", and {', '.join(options)} of this run is not applied to it" if options else ""
    return f"{shards.path} was packed with other options of {recipe.name}, or by another text of it{given}"


def _assert_meant(shards: ShardSet, data: Data, role: Role) -> None:
    """Compare what a set was packed as with what it is named for; one that does not say is taken at its word.

    Raises:
        ConfigError: they differ; says in what, and what to do.
    """
    made, domain = shards.meta["made"], domain_of(data, role)
    if "recipe" not in made:
        return
    key = "data.source" if role == "source" else "data.target"
    split_key = f"{key}.score_split" if role == "scored" else f"{key}.split"
    name, split = recipe_of(data, role, None).name, split_of(data, role)
    size = list(domain.size)
    wanted: list[tuple[str, str, Any, Any]] = [
        ("recipe", f"{key}.recipe", made["recipe"], name),
        ("split", split_key, made.get("split"), split),
        ("size", f"{key}.size", made.get("size"), size),
    ]
    told = [f"{what} is {_shown(there)}, {at} is {_shown(now)}" for what, at, there, now in wanted if there != now]
    if role == "scored" and not told and made.get("size") and made.get("label_size") == "image":
        told = ["labels were made as small as its images, scores are of labels at their own size"]
    if not told:
        return
    again = f"cirn-dist pack {domain.recipe} --split {split} --size {size[0]}x{size[1]}"
    again += " --label-size original" if role == "scored" else ""
    fix = f"pack that: {again} --out ..."
    if role == "scored":
        fix += f", and name it: data.target.score_raw=... (or data.target.raw=DIR with DIR/{domain.split}, DIR/{split})"
    elif made["recipe"] == name and made.get("size"):
        fix += ", or name what it is in these settings"
    raise ConfigError(f"its {'; its '.join(told)}", where=shards.path, fix=fix)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    return "each image's own" if value is None else str(value)
