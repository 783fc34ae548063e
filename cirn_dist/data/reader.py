"""Reading a shard set once, in order, for scoring and rendering: every sample or an error, none replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from cirn_dist.data.index import ShardSet
from cirn_dist.data.stream import _start_worker
from cirn_dist.data.transforms import SegmentationTransform, Transform
from cirn_dist.errors import CirnError, CorruptSample
from cirn_dist.seeds import uniforms


class _Samples(Dataset[Any]):
    def __init__(self, shards: ShardSet, transform: Transform) -> None:
        self.shards, self.transform = shards, transform

    def __getitem__(self, i: int) -> dict[str, Any] | CirnError:
        try:
            sample = self.shards.read(i)
            try:
                tensors = self.transform(sample, uniforms(self.transform.draws, i))
            except CorruptSample as error:
                return self.shards.corrupt(i, error.what, str(error.where or ""))
        except CirnError as error:
            return error
        return {**tensors, "index": i, "key": self.shards.key(i)}


class _Reader(DataLoader[Any]):
    def __iter__(self) -> Any:
        for sample in super().__iter__():
            if isinstance(sample, CirnError):
                raise sample
            yield sample


def reader(
    shards: ShardSet, indexes: Sequence[int] | None = None, *, transform: Transform | None = None, workers: int = 0
) -> DataLoader[Any]:
    """Return a loader of single samples in the order of `indexes` (all by default; rank r of R takes range(r, n, R)).

    It yields {"image": uint8 (3,H,W), "label": int64 (h,w) where there is one, "index": int, "key": str}.

    Raises:
        CorruptSample: while iterating, at the first bad sample.
    """
    chosen = range(len(shards)) if indexes is None else indexes
    return _Reader(
        _Samples(shards, transform or SegmentationTransform()),
        sampler=list(chosen),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_start_worker if workers else None,
        generator=torch.Generator(),
    )
