"""Whether a label map lies on its image; whoever reads both asks here. Sizes are (height, width)."""

from __future__ import annotations

import json

from cirn_dist.data.shards.shardset import Sample, ShardSet
from cirn_dist.errors import CorruptSample

Size = tuple[int, ...]


def misfit(image: Size, label: Size, original: Size | None = None) -> str:
    """Say how a label's size differs from its image's; empty where every label pixel has its place.

    Args:
        image: an array's shape, as `label`: only the first two numbers count.
        original: the image's size in the raw dataset, where the label may have kept it.
    """
    if label[:2] in (image[:2], original):
        return ""
    return f"its label map is {_shown(label)}, the image {_shown(image)}"


def assert_fits(image: Size, label: Size, original: Size | None = None) -> None:
    """Raise CorruptSample where `misfit` has something to say."""
    found = misfit(image, label, original)
    if found:
        raise CorruptSample(found)


def kept_size(shards: ShardSet, sample: Sample) -> Size | None:
    """Return the size that a sample's label may have beside its image's; None in a set whose labels went with it.

    Labels keep it in sets packed so, and in those that a run made of one.
    """
    made = shards.meta.get("made") or {}
    return original_size(sample) if made.get("label_size") == "original" or "parent" in made else None


def original_size(sample: Sample) -> Size | None:
    """Return the size that a sample's json says its image had in the raw dataset; None where it says none."""
    try:
        width, height = json.loads(sample["json"])["size"]
        return int(height), int(width)
    except (KeyError, TypeError, ValueError):
        return None


def _shown(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
