"""What a shard set is, as plain values for a table or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cirn_dist.data.shards.shardset import ShardSet


@dataclass(frozen=True)
class Info:
    """A shard set's description.

    Args:
        classes: (name, share of all label pixels) per class, then ("ignored", share); empty without labels.
        left_out: {"source", "reason"} of items that were not packed.
        omissions: lines on what of the raw folder the set does not hold.
    """

    path: Path
    name: str
    samples: int
    shards: int
    bytes: int
    fields: tuple[str, ...]
    size: tuple[int, int] | None
    label_space: str | None
    classes: tuple[tuple[str, float], ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    left_out: tuple[dict[str, str], ...]
    omissions: tuple[str, ...]
    made: dict[str, Any]
    fingerprint: str


def omissions(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Return lines on what a set does not hold of its raw folder: images left out, files passed over."""
    left_out = meta["left_out"]
    notes = tuple(meta.get("notes", ()))
    return (left_out_line(left_out, meta["samples"] + len(left_out)), *notes) if left_out else notes


def left_out_line(left_out: Sequence[Mapping[str, str]], images: int) -> str:
    """Say how many of so many images are left out, and which first and why."""
    first = left_out[0]
    share = f"{len(left_out):,} of {images:,} images ({100 * len(left_out) / images:.3g} %)"
    return f"left out: {share}, first {first['source']}: {first['reason']}"


def info(path: str | Path) -> Info:
    """Describe a shard set from its index alone.

    Raises:
        DataError: no complete set there.
    """
    shards = ShardSet.open(path)
    meta = shards.meta
    counts = [*meta["class_pixels"], meta["ignored_pixels"]]
    whole = max(sum(counts), 1)
    names = [*shards.label_space.classes, "ignored"] if shards.label_space else []
    size = meta["made"].get("size")
    return Info(
        path=shards.path,
        name=shards.name,
        samples=len(shards),
        shards=len(shards.shards),
        bytes=sum(shard["bytes"] for shard in shards.shards),
        fields=shards.fields,
        size=(size[0], size[1]) if size else None,
        label_space=shards.label_space.name if shards.label_space else None,
        classes=tuple((name, count / whole) for name, count in zip(names, counts, strict=bool(names))),
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        left_out=tuple(meta["left_out"]),
        omissions=omissions(meta),
        made=meta["made"],
        fingerprint=shards.fingerprint,
    )
