"""How much memory a training step needs: counted without computing it, or measured on the GPU.

Counting runs the step's own code, forward, backward and update, on tensors that have shapes and no content
(FakeTensorMode), and follows every allocation to its release. So the paper's sizes cost a second and no memory.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from cirn_dist.models import on_cpu, timm_backbones


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is active, counts the bytes of all tensors made that are still alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return made

    def _follow(self, storage: torch.UntypedStorage) -> None:
        identity = storage._cdata
        if identity in self._sizes:  # a view, or written in place
            return
        self._sizes[identity] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._released, identity)

    def _released(self, identity: int) -> None:
        self.live -= self._sizes.pop(identity)


class _Forgetting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Forgets after each operation which tensors were converted: a module moves no parameter with a weak reference."""

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memo = mode.fake_tensor_converter.meta_converter.tensor_memo

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.memo.clear()
        return made


@contextlib.contextmanager
def without_content() -> Iterator[None]:
    """Make every tensor one that has a shape and no content, and networks use the kernels that a GPU has."""
    as_on_gpus = mock.patch.object(on_cpu, "worth_it", _not)  # a Mock would keep the features it is asked about
    empty_timm = mock.patch.object(timm_backbones, "create", partial(_emptied, timm_backbones.create))
    with empty_timm, as_on_gpus, FakeTensorMode() as mode, torch.random.fork_rng(devices=[]), _Forgetting(mode):
        yield


def _not(_: Tensor) -> bool:
    return False


def _emptied(create: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Build a network of timm, which reads tensors' content while it does, and take the content away."""
    with _disable_current_modes():
        net = create(*given, **named)
    for module in net.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                module._parameters[name] = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return net


@contextlib.contextmanager
def with_content() -> Iterator[None]:
    """Read or compute something in the middle of it, uncounted."""
    with _disable_current_modes():
        yield


def counted_peak(build: Callable[[], Callable[[], None]]) -> int:
    """Return the most bytes that a step holds at once, parameters and optimizer state included.

    Allocators' fragments, a GPU's context and its libraries' workspaces are not in it.

    Args:
        build: makes the networks and the optimizers' state on the CPU and returns the step over them.
    """
    bytes_ = LiveBytes()
    with without_content(), bytes_:
        step = build()
        step()  # the optimizers make their state here
        step()
    return bytes_.peak


def measured_peak(build: Callable[[], Callable[[], None]]) -> int:
    """Return the same of a step that is really run on the current GPU, by its allocator."""
    step = build()
    step()  # the optimizers make their state here, and the libraries choose their algorithms
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated())
