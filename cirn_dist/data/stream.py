"""The deterministic stream over a shard set, and the loader that pairs streams at the same counter."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cirn_dist.data.index import ShardSet
from cirn_dist.data.order import Order
from cirn_dist.data.plan import Plan
from cirn_dist.data.transforms import Tensors, Transform
from cirn_dist.errors import CirnError, ConfigError, CorruptSample, DataError
from cirn_dist.seeds import derive, uniforms

_log = logging.getLogger(__name__)
Batch = dict[str, dict[str, Any]]


class Stream(Dataset[dict[str, Any]]):
    """Sample k of an endless order, augmented; the same for every world, worker count and restart.

    A bad sample is logged with its set, shard, key, field and reason, counted, and replaced by another that
    depends on k alone. The count lives in shared memory: all loader workers of this rank add to one.

    Args:
        shards: the set.
        transform: what becomes of a sample.
        seed: of the run.
        name: of the stream, so that two streams over one set differ.
        window: shards pooled by the order.
        max_bad: more bad samples than this end the run.
    """

    def __init__(
        self, shards: ShardSet, transform: Transform, *, seed: int, name: str, window: int = 16, max_bad: int = 10
    ) -> None:
        if not len(shards):
            raise DataError("the shard set is empty", where=shards.path)
        self.shards, self.transform, self.seed, self.name, self.max_bad = shards, transform, seed, name, max_bad
        self.order = Order(shards.shard_sizes, derive(seed, name, "order"), window)
        self._bad = torch.zeros(len(shards), dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]

    @property
    def bad(self) -> list[int]:
        """The samples found bad so far, by any worker."""
        indexes: list[int] = self._bad.nonzero()[:, 0].tolist()
        return indexes

    def __getitem__(self, k: int) -> dict[str, Any]:
        """Return the transform's output and k.

        Raises:
            DataError: more than max_bad samples were bad.
        """
        i, attempt = self.order.index(k), 0
        while True:
            try:
                return {**self._augmented(i, k), "k": k}
            except CorruptSample as error:
                self._count(i, error)
            attempt += 1
            i = derive(self.seed, self.name, "replacement", k, attempt) % len(self.shards)

    def _augmented(self, i: int, k: int) -> Tensors:
        sample = self.shards.read(i)
        try:
            return self.transform(sample, uniforms(self.transform.draws, self.seed, self.name, k))
        except CorruptSample as error:
            raise self.shards.corrupt(i, error.what, str(error.where or "")) from error

    def _count(self, i: int, error: CorruptSample) -> None:
        if not self._bad[i]:
            self._bad[i] = 1
            _log.warning("stream %s: bad sample, replaced by another: %s", self.name, error)
        bad = int(self._bad.count_nonzero())
        if bad > self.max_bad:
            raise DataError(
                f"{bad} bad samples in stream {self.name}, more than max_bad {self.max_bad}; the last: {error}",
                where=self.shards.path,
                fix="verify the set, and repair it or pack it again",
            ) from error
        if bad == len(self.shards):
            raise DataError(f"every sample is bad; the last: {error}", where=self.shards.path) from error


class _Pairs(Dataset[Any]):
    """All streams at the same k; an error is a value, which the loader raises in the main process."""

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self.streams = streams

    def __getitem__(self, k: int) -> dict[str, dict[str, Any]] | CirnError:
        try:
            return {name: stream[k] for name, stream in self.streams.items()}
        except CirnError as error:
            return error


class _Batches(Sampler[list[int]]):
    def __init__(self, plan: Plan, first_step: int, last_step: int) -> None:
        self.plan, self.first_step, self.last_step = plan, first_step, last_step

    def __iter__(self) -> Iterator[list[int]]:
        return self.plan.batches(self.first_step, self.last_step)

    def __len__(self) -> int:
        return max(0, self.last_step - self.first_step) * self.plan.accumulation


class _Loader(DataLoader[Any]):
    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, CirnError):
                raise batch
            for fields in batch.values():
                if "label" in fields:
                    fields["label"] = fields["label"].long()
            yield batch


def loader(
    streams: Mapping[str, Stream],
    plan: Plan,
    *,
    first_step: int,
    last_step: int,
    workers: int = 0,
    prefetch: int = 4,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Return a loader of this rank's micro-batches of steps [first_step, last_step), in order.

    It yields {stream: {"image": uint8 (b,3,H,W), "label": int64 (b,H,W), "k": int64 (b,)}}. The order does not
    depend on `workers`, nothing of it needs saving, and it draws nothing from torch's generators.

    Raises:
        DataError: while iterating, when a stream met more than its max_bad bad samples.
        ConfigError: while iterating, when images of one micro-batch differ in size.
    """
    return _Loader(
        _Pairs(streams),
        batch_sampler=_Batches(plan, first_step, last_step),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        prefetch_factor=prefetch if workers else None,
        worker_init_fn=_start_worker if workers else None,
        generator=torch.Generator(),
    )


def collate(items: list[dict[str, dict[str, Any]] | CirnError]) -> Batch | CirnError:
    """Stack the items of a micro-batch."""
    whole: list[dict[str, dict[str, Any]]] = []
    for item in items:
        if isinstance(item, CirnError):
            return item
        whole.append(item)
    try:
        return {name: stack([item[name] for item in whole]) for name in whole[0]}
    except ConfigError as error:
        return error


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


def _start_worker(_: int) -> None:
    # Launchers and SLURM signal whole process groups: stopping is the main process's to handle, and it still needs
    # this worker for the steps until all ranks have agreed. When it ends, so does this one, within seconds.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


__all__ = ["Plan", "Stream", "collate", "loader", "stack"]
