"""Looking into a shard set, sample by sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cirn_dist.data.loading.transforms import decode_image, decode_label
from cirn_dist.data.shards.shardset import ShardSet


def by_key(shards: ShardSet) -> dict[str, int]:
    return {shards.key(i): i for i in range(len(shards))}


def label_of(shards: ShardSet, key: str) -> np.ndarray:
    return decode_label(shards.read(by_key(shards)[key])["label.png"])


def image_of(shards: ShardSet, key: str) -> np.ndarray:
    return decode_image(shards.read(by_key(shards)[key])[shards.image_field])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
