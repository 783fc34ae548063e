"""An encoded sample, or the reason why an item was left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from cirn_dist.data.decode import open_image
from cirn_dist.data.label_files import open_label
from cirn_dist.data.labels import UInt8Array
from cirn_dist.data.shards.stats import Stats, measure


@dataclass(frozen=True)
class Entry:
    """One encoded sample and its pixel counts."""

    key: str
    sample: dict[str, bytes]
    stats: Stats

    @property
    def size(self) -> int:
        """Bytes of all fields."""
        return sum(len(data) for data in self.sample.values())


@dataclass(frozen=True)
class LeftOut:
    """An item that is not packed; named in index.json."""

    source: str
    reason: str


def entry(
    key: str, sample: dict[str, bytes], *, image: UInt8Array | None = None, label: UInt8Array | None = None
) -> Entry:
    """Count an encoded sample's pixels.

    Args:
        image, label: as they decode, for whoever has just encoded them; what is not given is decoded.
    """
    if image is None:
        image = np.asarray(open_image(next(data for field, data in sample.items() if field.startswith("image."))))
    if label is None and "label.png" in sample:
        label = open_label(sample["label.png"])
    return Entry(key, sample, measure(image, label))


def json_field(content: dict[str, Any]) -> bytes:
    """Encode a sample's json field."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
