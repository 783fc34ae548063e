"""A player: a group of networks with one optimizer and one gradient scaler of their own.

Two players that shared a scaler would share an overflow: one's infinite gradient would halve the other's scale,
or double the rate at which it grows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cirn_dist.engine.runtime import Runtime

Networks = Mapping[str, nn.Module]


class Group(nn.Module):
    """Several networks behind one forward, so that one DDP wrapper reduces all their gradients together."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, name: str, *inputs: Any) -> Any:
        """Call the network of that name."""
        return self.networks[name](*inputs)


class Player:
    """A network group, its optimizer and its gradient scaler.

    Args:
        networks: component name -> network; the names a checkpoint has.
        optimizer: builds the optimizer; each of its parameter groups keeps its base rate in `base_lr`.
        schedule: iteration -> factor on every base rate.
        clip_norm: largest gradient norm, or None.
    """

    def __init__(
        self,
        name: str,
        networks: Networks,
        optimizer: Callable[[], torch.optim.Optimizer],
        schedule: Callable[[int], float],
        runtime: Runtime,
        *,
        clip_norm: float | None = None,
    ) -> None:
        self.name = name
        self.networks = dict(networks)
        self.schedule = schedule
        self.clip_norm = clip_norm
        # Channels last is what convolutions compute in, on tensor cores and in oneDNN; other layouts are converted.
        group = Group(networks).to(memory_format=torch.channels_last).to(runtime.device)
        self.optimizer = optimizer()
        for settings in self.optimizer.param_groups:
            settings["base_lr"] = settings["lr"]
        self._forward = runtime.distribute(group)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.parameters = [p for p in group.parameters() if p.requires_grad]

    def __call__(self, network: str, *inputs: Any) -> Any:
        """Run one of the player's networks so that its gradients are reduced over ranks."""
        return self._forward(network, *inputs)

    def raw(self, network: str) -> Any:
        """Return a network without its DDP wrapper: for other players' passes, where it is frozen."""
        return self.networks[network]

    def reduce_gradients(self, when: bool) -> contextlib.AbstractContextManager[None]:
        """Return the context of a pass; gradients are reduced over ranks at its backward only `when` true.

        It must cover the forward too: DDP decides there whether it will reduce.
        """
        if not when and isinstance(self._forward, DistributedDataParallel):
            return self._forward.no_sync()
        return contextlib.nullcontext()

    def set_rate(self, iteration: int) -> float:
        """Set the learning rates of this iteration; returns the first group's."""
        factor = self.schedule(iteration)
        for settings in self.optimizer.param_groups:
            settings["lr"] = settings["base_lr"] * factor
        return float(self.optimizer.param_groups[0]["lr"])

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to the parameters'."""
        torch.autograd.backward(self.scaler.scale(loss))

    def gradient_norm(self) -> Tensor:
        """Unscale and clip the gradients; returns their norm before clipping, equal on every rank."""
        self.scaler.unscale_(self.optimizer)
        limit = self.clip_norm if self.clip_norm is not None else float("inf")
        return nn.utils.clip_grad_norm_(self.parameters, limit)

    def update(self, finite: bool) -> None:
        """Step the optimizer, unless a gradient is not finite; either way start the next step with none."""
        if finite or self.scaler.is_enabled():
            self.scaler.step(self.optimizer)  # an enabled scaler skips by itself and lowers its scale
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
