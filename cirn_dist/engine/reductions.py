"""How a bucket of gradients is averaged over ranks: by an all-reduce, or in the order of ranks.

An all-reduce adds the ranks' numbers in an order that depends on where in the bucket they lie and on the way the
backend has chosen. DDP fills its buckets anew after the first step of a process, so that with three ranks or more a
resumed run would round otherwise than one that nothing has stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future

Reduce = Callable[[Tensor], Future[Tensor]]


def all_reduce(gradients: Tensor) -> Future[Tensor]:
    """Average a bucket as DDP does by itself."""
    work: Any = dist.all_reduce(gradients.div_(dist.get_world_size()), async_op=True)
    averaged: Future[Tensor] = work.get_future().then(lambda future: future.value()[0])
    return averaged


def in_rank_order(gradients: Tensor) -> Future[Tensor]:
    """Average a bucket, each element as ((rank 0 + rank 1) + rank 2) and so on; sends an all-reduce's bytes.

    Each rank gets its share of every rank's bucket, adds it up, and gives the sums to all. On a GPU that happens
    beside the backward pass, on a stream of its own.
    """
    if not gradients.is_cuda:
        future: Future[Tensor] = Future()
        future.set_result(_sum_in_order(gradients))
        return future
    stream = _beside(gradients.device)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        future = Future(devices=[gradients.device])
        future.set_result(_sum_in_order(gradients))  # whoever waits for it waits for this stream
    return future


def _sum_in_order(gradients: Tensor) -> Tensor:
    world = dist.get_world_size()
    share = -(-len(gradients) // world)
    own = torch.zeros(world, share, dtype=gradients.dtype, device=gradients.device)
    own.view(-1)[: len(gradients)].copy_(gradients).div_(world)
    every = torch.empty_like(own)
    dist.all_to_all_single(every, own)
    total = every[0]
    for more in every[1:]:
        total += more
    dist.all_gather(list(own), total)
    return gradients.copy_(own.view(-1)[: len(gradients)])


_streams: dict[torch.device, torch.cuda.Stream] = {}


def _beside(device: torch.device) -> torch.cuda.Stream:
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return _streams[device]
