"""Where a step's time goes: each network's forward and backward, the losses between them, the optimizers."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from cirn_dist.measure.rehearsal import LOSSES, Work


def phases(work: Work, *, compiled: bool = False) -> dict[str, float]:
    """Return the seconds of one step by what it was doing, in the order it first did it; they sum to the whole.

    A network's backward begins when a gradient reaches its output. On a GPU every event waits for the device, so the
    whole takes longer than a step that is not watched.

    Args:
        compiled: the networks are, and will be once more for being watched, in a step that is not counted.
    """
    networks = {name: net for player in work.players for name, net in player.networks.items()}
    known = {id(net) for net in networks.values()}
    frozen = [net for net in work.networks if id(net) not in known]
    networks |= {"frozen network" + (f" {i}" if i else ""): net for i, net in enumerate(frozen)}
    clock = _Clock(cuda=any(p.is_cuda for net in networks.values() for p in net.parameters()))
    with _watched(networks, clock):
        if compiled:
            work.step()
            clock.spent.clear()
        clock.start(LOSSES)
        work.step(clock.begin)
        clock.begin("end")
    return dict(clock.spent)


class _Clock:
    """Adds up seconds by the name of what is being done."""

    def __init__(self, *, cuda: bool) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._cuda = cuda
        self._doing, self._since = "", 0.0

    def start(self, doing: str) -> None:
        """Begin to count."""
        self._doing, self._since = doing, self._now()

    def begin(self, doing: str) -> None:
        """Count the time until now for what was being done, and do something else."""
        now = self._now()
        self.spent[self._doing] += now - self._since
        self._doing, self._since = doing, now

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


@contextlib.contextmanager
def _watched(networks: Mapping[str, nn.Module], clock: _Clock) -> Iterator[None]:
    handles: list[Any] = []
    for name, net in networks.items():
        forward, backward = f"{name}: forward", f"{name}: backward"
        handles.append(net.register_forward_pre_hook(_begins(clock, forward)))
        handles.append(net.register_forward_hook(_ends(clock, backward)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _begins(clock: _Clock, name: str) -> Callable[..., None]:
    return lambda *_: clock.begin(name)


def _ends(clock: _Clock, backward: str) -> Callable[..., None]:
    """Return a hook for the end of a forward pass, which waits for the gradient of what came out of it."""

    def hook(_: nn.Module, __: Any, found: Any) -> None:
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                arrived: Any = leaf.register_hook
                arrived(lambda _: clock.begin(backward))
        clock.begin(LOSSES)

    return hook
