"""What the gradient all-reduces of a step cost: bytes, time under way, and the part backward does not hide."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cirn_dist.engine.reductions import Reduce

Mark = float | torch.cuda.Event


class Traffic:
    """Counts and times what DDP reduces between two calls of `take`.

    DDP hands gradients over in buckets as backward makes them; a hook starts each bucket's reduction and notes when it
    started and ended. On GPUs the times are CUDA events, which wait for nothing.

    Args:
        reduce: averages a bucket over ranks.
    """

    def __init__(self, device: torch.device, reduce: Reduce) -> None:
        self.device, self.reduce = device, reduce
        self.trainable = 0
        self._buckets: list[tuple[Mark, list[Mark], int, bool]] = []

    def watch(self, module: nn.Module) -> None:
        """Time a module's reductions; one that is not on DDP has none, and its parameters are counted alone."""
        self.trainable += sum(p.numel() * p.element_size() for p in module.parameters() if p.requires_grad)
        if isinstance(module, DistributedDataParallel):
            module.register_comm_hook(None, lambda _, bucket: self._reduce(bucket))

    def end(self) -> None:
        """Forget the parameters watched so far: a stage has ended, and the next brings its own."""
        self.trainable = 0

    def take(self) -> dict[str, float]:
        """Return the costs since the last call, and start anew; call it when the step's work is done.

        `reduce_s` is the time with a reduction under way; `exposed_s` that of each player's last bucket, which starts
        when backward ends; `reduced_bytes` what one rank put in; `trainable_bytes` the parameters' size.
        """
        buckets, self._buckets = self._buckets, []
        costs: dict[str, float] = {"trainable_bytes": self.trainable}
        if buckets:
            first = buckets[0][0]
            spans = [(_seconds(first, start), _seconds(first, *end)) for start, end, _, _ in buckets]
            costs["reduce_s"] = union(spans)
            costs["exposed_s"] = sum(
                end - start for (start, end), bucket in zip(spans, buckets, strict=True) if bucket[3]
            )
            costs["reduced_bytes"] = sum(bucket[2] for bucket in buckets)
        return costs

    def _mark(self) -> Mark:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _reduce(self, bucket: Any) -> torch.futures.Future[Tensor]:
        gradients = bucket.buffer()
        end: list[Mark] = []
        self._buckets.append((self._mark(), end, gradients.numel() * gradients.element_size(), bucket.is_last()))

        def ended(future: torch.futures.Future[Tensor]) -> Tensor:
            end.append(self._mark())
            return future.value()

        return self.reduce(gradients).then(ended)


def union(spans: list[tuple[float, float]]) -> float:
    """Return how long at least one of the (start, end) spans lasted."""
    total, covered = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, covered))
        covered = max(covered, end)
    return total


def _seconds(first: Mark, later: Mark) -> float:
    if isinstance(first, torch.cuda.Event):
        assert isinstance(later, torch.cuda.Event)
        return float(first.elapsed_time(later)) / 1000
    assert not isinstance(later, torch.cuda.Event)
    return later - first
