"""Checking one sample of a shard set completely: its bytes, its decoding, its label's size and values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cirn_dist.data.decode import open_image
from cirn_dist.data.label_files import open_label
from cirn_dist.data.labels import IGNORE, UInt8Array
from cirn_dist.data.shards.samples import Entry
from cirn_dist.data.shards.shardset import LABEL, ShardSet
from cirn_dist.data.shards.sizes import assert_fits, kept_size
from cirn_dist.data.shards.stats import measure
from cirn_dist.errors import CorruptSample, DataError


@dataclass(frozen=True)
class Bad:
    """What is wrong with a sample, or with a whole shard when there is no key."""

    shard: str
    key: str
    field: str
    reason: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.shard, f"[{self.key}]" if self.key else "", self.field) if part)


@lru_cache(maxsize=1)
def opened(path: Path) -> ShardSet:
    """Open a set once per worker process, damaged or not."""
    return ShardSet.open(path, check=False)


def check_sample(shards: ShardSet, i: int) -> Entry | Bad:
    """Read and decode sample i; its entry when it is whole."""
    name = shards.shards[shards.locate(i)[0]]["name"]
    field = key = ""
    try:
        key = shards.key(i)
        sample: dict[str, bytes] = {}
        for field in shards.fields:
            sample[field] = shards.read_field(i, field)
        field = shards.image_field
        image = np.asarray(open_image(sample[field]))
        label = None
        if shards.has_labels:
            field = LABEL
            label = open_label(sample[LABEL])
            assert_fits(image.shape, label.shape, kept_size(shards, sample))
            _refuse_unknown(label, shards.label_space.num_classes if shards.label_space else IGNORE)
    except DataError as error:
        return Bad(name, key or f"sample {shards.locate(i)[1]}", field, error.what)
    return Entry(key, sample, measure(image, label))


def check_place(place: tuple[Path, int]) -> Entry | Bad:
    """Check sample i of the set at a path, in a worker process."""
    path, i = place
    return check_sample(opened(path), i)


def _refuse_unknown(label: UInt8Array, classes: int) -> None:
    values = np.unique(label)
    unknown = values[(values >= classes) & (values != IGNORE)]
    if unknown.size:
        raise CorruptSample(f"unknown train id {int(unknown[0])}")
