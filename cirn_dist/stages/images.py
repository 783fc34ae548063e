"""A shard set's images split over a run's ranks, and its labels in the run's classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cirn_dist.data.labels import translation
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.run import Run

Group = TypeVar("Group")


def each_ranks_groups(run: Run, groups: Sequence[Group], where: str | None) -> Iterator[Group]:
    """Yield this rank's groups of images, every R-th; all ranks walk them in step and can be stopped between two.

    Args:
        where: what to call the place of a stop; None where everything done so far is not on disk.
    """
    for lap in range(0, len(groups), run.runtime.world):
        yield from groups[lap : lap + run.runtime.world][run.runtime.rank :][:1]
        if where is not None:
            run.pause_point(where)


def relabelling(run: Run, shards: ShardSet, domain: str) -> npt.NDArray[np.uint8] | None:
    """Return the table (256,) from a set's train ids to the run's; None where they are the same.

    Raises:
        ConfigError: map_labels names a class that there is not.
    """
    names = getattr(run.config.data, domain).map_labels
    return None if shards.label_space is None else translation(shards.label_space, run.labels, names)
