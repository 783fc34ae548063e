"""How many pixels of each class each sample has: SHARD.classes.npy beside each tar, written as it is packed.

It is no part of a set's fingerprint: the labels are, and say the same. `cirn-dist shards stats` adds it to older sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cirn_dist.data.label_files import open_label
from cirn_dist.data.shards.shardset import LABEL, ShardSet
from cirn_dist.errors import DataError
from cirn_dist.files import atomic

Counts = npt.NDArray[np.uint32]
_FIX = "cirn-dist shards stats counts it again"


def counts_name(tar: str) -> str:
    """Return the name of a tar's counts."""
    return f"{Path(tar).stem}.classes.npy"


def write_counts(folder: Path, tar: str, rows: Sequence[Sequence[int]]) -> None:
    """Write the counts of a tar's samples, each (256,) by train id; ignored pixels, 255, are left out.

    Raises:
        DataError: it cannot be written.
    """
    counts = np.array(rows, np.uint32).reshape(len(rows), 256)[:, :255]
    used = int(np.flatnonzero(counts.any(axis=0)).max(initial=-1)) + 1
    with atomic(folder / counts_name(tar)) as file:
        np.save(file, counts[:, :used], allow_pickle=False)


def class_counts(shards: ShardSet) -> Counts:
    """Return the pixels of each class of a labelled set in each sample, (samples, classes).

    Raises:
        DataError: they were not counted, or are not those of the set.
    """
    classes = len(shards.meta["class_pixels"])
    parts = []
    for shard in shards.shards:
        file = shards.path / counts_name(shard["name"])
        if not file.is_file():
            raise DataError("has no counts of its samples' classes", where=shards.path, fix=_FIX.replace(" again", ""))
        try:
            part = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot be read ({error})", where=file, fix=_FIX) from error
        if part.ndim != 2 or part.dtype != np.uint32 or len(part) != shard["samples"] or part.shape[1] > classes:
            raise DataError("is of another set", where=file, fix=_FIX)
        parts.append(np.pad(part, ((0, 0), (0, classes - part.shape[1]))))
    counts: Counts = np.concatenate(parts)
    if counts.sum(axis=0, dtype=np.int64).tolist() != shards.meta["class_pixels"]:
        raise DataError("the counts of its samples' classes are of another set", where=shards.path, fix=_FIX)
    return counts


def add_counts(shards: ShardSet, progress: Callable[[int, int], None] | None = None) -> None:
    """Count the labels of a set that was packed before its samples were counted.

    Raises:
        DataError: it has no labels, a label cannot be read, or nothing can be written there.
    """
    if not shards.has_labels:
        raise DataError("holds no labels to count", where=shards.path)
    first = 0
    for shard in shards.shards:
        rows = []
        for i in range(first, first + shard["samples"]):
            rows.append(np.bincount(open_label(shards.read(i)[LABEL]).ravel(), minlength=256).tolist())
            if progress is not None:
                progress(i + 1, len(shards))
        write_counts(shards.path, shard["name"], rows)
        first += shard["samples"]
    class_counts(shards)
