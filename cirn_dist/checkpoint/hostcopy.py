"""Copies of tensors in host memory, taken fast enough that training hardly waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cirn_dist.checkpoint.folder import Tensors


class HostCopy:
    """Host memory that is used again for every copy, pinned where tensors come from a GPU.

    Fresh memory costs a page fault for every 4 KiB and pinning it costs more: only the first copy pays for that.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, str], Tensor] = {}
        self._events: tuple[Any, Any] | None = None

    def take(self, components: Mapping[str, Tensors]) -> dict[str, dict[str, Tensor]]:
        """Begin to copy {component: {name: tensor}}; the copies are complete once `wait` has returned.

        Copies from a GPU are queued behind the kernels that were launched so far and before those launched next, so
        the caller need not wait for them. The memory formats stay: rearranging is left to who writes.
        """
        buffers: dict[tuple[str, str], Tensor] = {}
        on_gpu = any(tensor.is_cuda for tensors in components.values() for tensor in tensors.values())
        self._events = (_gpu_event(), _gpu_event()) if on_gpu else None
        if self._events is not None:
            self._events[0].record()
        for component, tensors in components.items():
            for name, tensor in tensors.items():
                source = tensor.detach()
                buffer = self._buffers.get((component, name))
                if buffer is None or not _fits(buffer, source):
                    buffer = torch.empty_like(source, device="cpu", pin_memory=source.is_cuda)
                buffers[component, name] = buffer.copy_(source, non_blocking=True)
        self._buffers = buffers
        if self._events is not None:
            self._events[1].record()
        return {
            component: {name: buffers[component, name] for name in tensors} for component, tensors in components.items()
        }

    def wait(self) -> float:
        """Wait until the copies are complete, in the thread that reads them; returns the seconds the GPU took."""
        if self._events is None:
            return 0.0
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1])) / 1000


def _gpu_event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _fits(buffer: Tensor, source: Tensor) -> bool:
    return buffer.shape == source.shape and buffer.dtype == source.dtype and buffer.stride() == source.stride()
