"""What a set's labels can teach: whether they are of the run's classes, and which of these have pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cirn_dist.config.groups.data import Data
from cirn_dist.data.labels import LabelSpace, UInt8Array, in_classes, mapping
from cirn_dist.data.run_sets.ready_packed import Role, domain_of
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.errors import ConfigError, DataError

_MOSTLY = 0.5  # share of ignored pixels from which on it is told


def assert_labels(space: LabelSpace | None, wanted: LabelSpace, data: Data, role: Role, where: Path | str) -> None:
    """Check that labels of a space are of the run's classes, or can be translated to them.

    Args:
        space: that of a set or recipe; None where there are no labels.
        wanted: the run's.

    Raises:
        ConfigError: they are not; a class that is translated is in neither space.
    """
    names, key = domain_of(data, role).map_labels, "data.source" if role == "source" else "data.target"
    if space is not None and names is not None:
        if not space.is_same(wanted):
            mapping(space, wanted, names)  # a misspelt class is refused here
    elif space is None or not space.is_same(wanted):
        raise ConfigError(
            f"its labels are {space.beside(wanted) if space else 'not there'}, the run's classes are "
            f"data.label_space={wanted.beside(space) if space else wanted.name}",
            where=where,
            fix=f"{key}.map_labels={{}} translates them by class name" if space else "pack it with labels",
        )


def unlabelled(shards: ShardSet, space: LabelSpace, table: UInt8Array | None) -> list[str]:
    """Return lines on classes without a pixel, and on labels that are mostly ignored or all of one class.

    Args:
        space: the run's.
        table: (256,) from the set's train ids to the run's; None where they are the same.

    Raises:
        DataError: not one pixel is of the run's classes.
    """
    pixels = np.array(shards.meta["class_pixels"], np.int64)
    counts = in_classes(pixels, table, space.num_classes)
    labelled = int(counts.sum())
    ignored = shards.meta["ignored_pixels"] + int(pixels.sum()) - labelled
    if not labelled:
        raise DataError(
            "not one pixel of its labels is of the run's classes, all are ignored",
            where=shards.path,
            fix="check the recipe's ids or encoding (`cirn-dist shards info` counts the classes), and pack again",
        )
    told = []
    there = [name for name, pixels in zip(space.classes, counts, strict=True) if pixels]
    absent = [name for name, pixels in zip(space.classes, counts, strict=True) if not pixels]
    if len(there) == 1 < space.num_classes:
        told.append(f"all labelled pixels are of one class, {there[0]}: check the recipe's ids or encoding")
    elif absent:
        told.append(f"no pixel of {', '.join(absent)}")
    if ignored > _MOSTLY * (ignored + labelled):
        told.append(f"{100 * ignored / (ignored + labelled):.3g} % of the label pixels are ignored")
    return told
