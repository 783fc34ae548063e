"""What every rank hands over: objects, in which no tensor may hide, and tensors, to rank 0's host memory alone.

Ranks exchange objects by pickling. A tensor on a GPU would be opened on every rank, each on its owner's device:
contexts and copies on devices that are not theirs, or an error where a rank sees only its own.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

BUFFER = 64 * 2**20  # bytes that rank 0 receives at once, from all ranks together


def assert_no_tensors(item: object) -> None:
    """Check, on one rank as on many, that an object which ranks exchange holds no tensor, however deep.

    Raises:
        TypeError: names the tensor.
    """
    _Search(io.BytesIO(), pickle.HIGHEST_PROTOCOL).dump(item)


class _Search(pickle.Pickler):
    """Sees each part of an object as pickling does, a tensor's name before the tensor."""

    name = "unnamed"

    def persistent_id(self, part: Any) -> None:
        """Remember the name, refuse the tensor."""
        if isinstance(part, str):
            self.name = part
        if isinstance(part, Tensor):
            _refuse(self.name, part)


def _refuse(name: str, tensor: Tensor) -> NoReturn:
    raise TypeError(
        f"a tensor is among the objects that ranks exchange: {name}, {tuple(tensor.shape)} {tensor.dtype} on "
        f"{tensor.device}; Runtime.tensors_on_main and Runtime.sum are for tensors"
    )


def tensors_on_main(tensors: Mapping[str, Tensor], rank: int, device: torch.device) -> dict[str, Tensor] | None:
    """Return all ranks' named tensors in the host memory of rank 0, None elsewhere; all ranks call it.

    They go through the device, where NCCL has its only way, a piece at a time: rank 0's device never holds more than
    `BUFFER` of them.

    Args:
        tensors: this rank's; a name is on one rank only.
    """
    world = dist.get_world_size()
    own = [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()]
    every: list[Any] = [None] * world
    dist.all_gather_object(every, own)
    sizes = [sum(_bytes(shape, dtype) for _, shape, dtype in listed) for listed in every]
    piece = max(1, BUFFER // world)
    sent = _flat(list(tensors.values()), device)
    received: list[list[Tensor]] = [[] for _ in range(world)]
    for start in range(0, max(sizes), piece):
        length = min(piece, max(sizes) - start)  # of every rank alike, as the collective wants it
        part = torch.zeros(length, dtype=torch.uint8, device=device)
        mine = sent[start : start + length]
        part[: len(mine)] = mine
        parts = [torch.empty_like(part) for _ in range(world)] if rank == 0 else None
        dist.gather(part, parts, dst=0)
        for of, bytes_ in enumerate(parts or []):
            received[of].append(bytes_.cpu())
    if rank != 0:
        return None
    return {
        name: tensor
        for listed, pieces in zip(every, received, strict=True)
        for name, tensor in _opened(listed, pieces).items()
    }


def _bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize


def _flat(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Return the bytes of some tensors, one after another."""
    empty = torch.empty(0, dtype=torch.uint8, device=device)
    parts = (tensor.detach().to(device).contiguous().flatten().view(torch.uint8) for tensor in tensors)
    return torch.cat([empty, *parts])


def _opened(listed: list[tuple[str, tuple[int, ...], torch.dtype]], pieces: list[Tensor]) -> dict[str, Tensor]:
    """Return the tensors of one rank's bytes."""
    found, at, whole = {}, 0, torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.uint8)
    for name, shape, dtype in listed:
        end = at + _bytes(shape, dtype)
        found[name] = whole[at:end].clone().view(dtype).view(shape)  # a copy begins where its format may
        at = end
    return found
