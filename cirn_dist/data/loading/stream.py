"""The deterministic stream over a shard set, and the loader that pairs streams at the same counter."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any, NamedTuple

import torch

from cirn_dist.data.loading.order import Order
from cirn_dist.data.loading.plan import Plan
from cirn_dist.data.loading.rare import RareClasses
from cirn_dist.data.loading.transforms import Tensors, Transform
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.data.workers.feed import Feed
from cirn_dist.errors import ConfigError, CorruptSample, DataError
from cirn_dist.seeds import derive, uniforms

_log = logging.getLogger(__name__)
Batch = dict[str, dict[str, Any]]


class Drawn(NamedTuple):
    """A sample, and the samples found bad on the way to it; empty where all of them were."""

    sample: dict[str, Any]
    bad: dict[int, CorruptSample]


class Stream:
    """Sample k of an endless order, augmented; the same for every world, worker count and restart.

    A bad sample is logged with its set, shard, key, field and reason, counted, and replaced by another that
    depends on k alone. Whoever takes a sample counts: the loader's workers only say what they found.

    Args:
        shards: the set.
        transform: what becomes of a sample.
        seed: of the run.
        name: of the stream, so that two streams over one set differ.
        window: shards pooled by the order.
        max_bad: more bad samples than this end the run.
        rare: draws the samples by their classes, in place of the order.
    """

    def __init__(
        self,
        shards: ShardSet,
        transform: Transform,
        *,
        seed: int,
        name: str,
        window: int = 16,
        max_bad: int = 10,
        rare: RareClasses | None = None,
    ) -> None:
        if not len(shards):
            raise DataError("the shard set is empty", where=shards.path)
        self.shards, self.transform, self.seed, self.name, self.max_bad = shards, transform, seed, name, max_bad
        self.order = Order(shards.shard_sizes, derive(seed, name, "order"), window)
        self.rare = rare
        self._bad: set[int] = set()

    @property
    def bad(self) -> list[int]:
        """The samples found bad so far."""
        return sorted(self._bad)

    def __getitem__(self, k: int) -> dict[str, Any]:
        """Return the transform's output and k.

        Raises:
            DataError: more than max_bad samples were bad.
        """
        drawn = self.draw(k)
        self.count(drawn.bad)
        return drawn.sample

    def draw(self, k: int) -> Drawn:
        """Return the transform's output and k, or no sample where `count` will find too many bad ones."""
        bad: dict[int, CorruptSample] = {}
        i, wanted = (self.order.index(k), None) if self.rare is None else self.rare.draw(k)
        attempt = 0
        while True:
            try:
                return Drawn({**self._augmented(i, k, wanted), "k": k}, bad)
            except CorruptSample as error:
                bad[i] = error
            if len(bad) > self.max_bad or len(bad) == len(self.shards):
                return Drawn({}, bad)
            attempt += 1
            i = derive(self.seed, self.name, "replacement", k, attempt) % len(self.shards)

    def _augmented(self, i: int, k: int, wanted: int | None) -> Tensors:
        sample = self.shards.read(i)
        try:
            return self.transform(sample, uniforms(self.transform.draws, self.seed, self.name, k), wanted)
        except CorruptSample as error:
            raise self.shards.corrupt(i, error.what, str(error.where or "")) from error

    def count(self, found: Mapping[int, CorruptSample]) -> None:
        """Log and count bad samples, each once.

        Raises:
            DataError: they are more than max_bad, or all there are.
        """
        for i, error in found.items():
            if i not in self._bad:
                self._bad.add(i)
                _log.warning("stream %s: bad sample, replaced by another: %s", self.name, error)
            if len(self._bad) > self.max_bad:
                raise DataError(
                    f"{len(self._bad)} bad samples in stream {self.name}, more than max_bad {self.max_bad}; "
                    f"the last: {error}",
                    where=self.shards.path,
                    fix="verify the set, and repair it or pack it again",
                ) from error
            if len(self._bad) == len(self.shards):
                raise DataError(f"every sample is bad; the last: {error}", where=self.shards.path) from error


@dataclass(frozen=True)
class _Pairs:
    """All streams at the same k, micro-batch by micro-batch."""

    streams: Mapping[str, Stream]
    plan: Plan
    first_step: int
    last_step: int

    def __len__(self) -> int:
        return max(0, self.last_step - self.first_step) * self.plan.accumulation

    def items(self) -> Iterator[list[int]]:
        return self.plan.batches(self.first_step, self.last_step)

    def read(self, ks: list[int]) -> dict[str, dict[str, Any]]:
        """Return each stream's part, and what it found bad."""
        drawn = {name: [stream.draw(k) for k in ks] for name, stream in self.streams.items()}
        bad = {name: {i: e for one in found for i, e in one.bad.items()} for name, found in drawn.items()}
        if not all(one.sample for found in drawn.values() for one in found):
            return {"bad": bad}
        return {"batch": {name: stack([one.sample for one in found]) for name, found in drawn.items()}, "bad": bad}


class Batches:
    """A rank's micro-batches in order, a context manager and an iterator of {stream: {field: tensor}}."""

    def __init__(self, pairs: _Pairs, workers: int, ahead: int, context: BaseContext | None) -> None:
        self._pairs = pairs
        self._feed: Feed[dict[str, dict[str, Any]]] = Feed(pairs, workers, ahead=ahead, context=context)

    def __len__(self) -> int:
        return len(self._pairs)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        found = next(self._feed)
        for name, bad in found["bad"].items():
            self._pairs.streams[name].count(bad)
        return found["batch"]

    def ready(self, seconds: float) -> bool:
        """Wait at most so long for the next one; whether it is there, or an error in its place."""
        return self._feed.ready(seconds)

    def close(self) -> None:
        """End the workers."""
        self._feed.close()


def loader(
    streams: Mapping[str, Stream],
    plan: Plan,
    *,
    first_step: int,
    last_step: int,
    workers: int = 0,
    prefetch: int = 4,
    context: BaseContext | None = None,
) -> Batches:
    """Return this rank's micro-batches of steps [first_step, last_step), in order.

    They are {stream: {"image": uint8 (b,3,H,W), "label": uint8 (b,H,W), "k": int64 (b,)}}. The order does not
    depend on `workers`, nothing of it needs saving, and it draws nothing from torch's generators.

    Args:
        prefetch: micro-batches each worker makes ahead.
        context: how workers are started; as `start_method` says by default.

    Raises:
        DataError: while iterating, when a stream met more than its max_bad bad samples, or a worker died.
        ConfigError: while iterating, when images of one micro-batch differ in size.
    """
    return Batches(_Pairs(streams, plan, first_step, last_step), workers, prefetch, context)


def stack(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples of one stream: tensors along a new first dimension, integers to int64 (b,), one size for all."""
    batch: dict[str, Any] = {}
    for field, first in samples[0].items():
        values = [sample[field] for sample in samples]
        if isinstance(first, int):
            batch[field] = torch.tensor(values)
            continue
        sizes = [tuple(value.shape) if isinstance(value, torch.Tensor) else value for value in values]
        if len(set(sizes)) > 1:
            shapes = sorted({"x".join(map(str, size)) for size in sizes})
            raise ConfigError(
                f"the {field}s of one micro-batch differ in size: {', '.join(shapes)}",
                where="engine.micro_batch",
                fix="use micro_batch 1, or a crop",
            )
        if isinstance(first, torch.Tensor):
            batch[field] = torch.stack(values) if len(values) > 1 else first[None]
        else:
            batch[field] = first
    return batch


__all__ = ["Batches", "Plan", "Stream", "loader", "stack"]
