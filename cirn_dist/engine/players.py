"""A player: a group of networks with one optimizer and one gradient scaler of their own.

Two players that shared a scaler would share an overflow: one's infinite gradient would halve the other's scale,
or double the rate at which it grows.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cirn_dist.checkpoint.state import load_optimizer, optimizer_tensors
from cirn_dist.choices import CompileMode
from cirn_dist.engine.runtime import Runtime

Networks = Mapping[str, nn.Module]


class Group(nn.Module):
    """Several networks behind one forward, so that one wrapper reduces all their gradients together.

    Args:
        compile_mode: torch.compile's, for calls that come through here; whoever else has a network calls it as it is.
    """

    def __init__(self, networks: Networks, compile_mode: CompileMode | None = None) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        # Not a module's attribute: its parameters have one name each.
        self._called: dict[str, Callable[..., Any]] = dict(networks)
        if compile_mode is not None:
            self._called = {
                name: torch.compile(net, mode=compile_mode, dynamic=False) for name, net in networks.items()
            }

    def forward(self, name: str, *inputs: Any) -> Any:
        """Call the network of that name."""
        return self._called[name](*inputs)


class Player(ABC):
    """What a step, the loop and a checkpoint need of a network group, whoever reduces its gradients.

    A step is: `set_rate`; for each pass `reduce_gradients` around forward and `backward`, true in the last one only;
    `gradient_norm`; `update`. All ranks do it together.

    Args:
        networks: component name -> network; the names a checkpoint has.
        optimizer: over the networks' trainable parameters; each group keeps its base rate in `base_lr`.
        schedule: iteration -> factor on every base rate.
        clip_norm: largest gradient norm, or None.

    Raises:
        ValueError: a trainable parameter is in no group of the optimizer, or in two.
    """

    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        name: str,
        networks: Networks,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        *,
        clip_norm: float | None = None,
    ) -> None:
        self.name = name
        self.networks = dict(networks)
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.optimizer = optimizer
        self.parameters = [p for net in self.networks.values() for p in net.parameters() if p.requires_grad]
        assert_each_once(name, self.networks, optimizer)
        for settings in optimizer.param_groups:
            settings["base_lr"] = settings["lr"]

    def set_rate(self, iteration: int) -> float:
        """Set the learning rates of this iteration; returns the first group's."""
        factor = self.schedule(iteration)
        for settings in self.optimizer.param_groups:
            settings["lr"] = settings["base_lr"] * factor
        return float(self.optimizer.param_groups[0]["lr"])

    def raw(self, network: str) -> Any:
        """Return a network without its wrapper: for other players' passes, where it is frozen."""
        return self.networks[network]

    @abstractmethod
    def __call__(self, network: str, *inputs: Any) -> Any:
        """Run one of the player's networks so that its gradients are reduced over ranks."""

    @abstractmethod
    def reduce_gradients(self, when: bool) -> contextlib.AbstractContextManager[None]:
        """Return the context of a pass, forward and backward; gradients are reduced over ranks only `when` true."""

    @abstractmethod
    def backward(self, loss: Tensor, micros: int) -> None:
        """Backpropagate `loss / micros`, adding to the gradients."""

    @abstractmethod
    def gradient_norm(self) -> Tensor:
        """Unscale and clip the step's gradients; returns their norm before clipping, equal on every rank."""

    @abstractmethod
    def update(self, finite: bool) -> None:
        """Step the optimizer unless not `finite`; either way the next step starts without gradients."""

    @abstractmethod
    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the whole optimizer's state as named tensors; all ranks call it."""

    @abstractmethod
    def load_optimizer_state(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `optimizer_state` returned, on any number of ranks."""

    @abstractmethod
    def scaler_state(self) -> dict[str, Any]:
        """Return the gradient scaler's state, as JSON has it; empty where there is none."""

    @abstractmethod
    def load_scaler_state(self, state: dict[str, Any]) -> None:
        """Take back what `scaler_state` returned; another precision's state is passed over."""


class DdpPlayer(Player):
    """A player on DistributedDataParallel, or alone where there is one rank.

    Args:
        optimizer: builds the optimizer once the networks are on the device.
    """

    # What convolutions compute in, on tensor cores and in oneDNN; other layouts are converted each time.
    memory_format = torch.channels_last

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
        group = Group(networks, runtime.compile_mode).to(memory_format=self.memory_format)
        group = group.to(device=runtime.device, dtype=runtime.dtype)
        super().__init__(name, networks, optimizer(), schedule, clip_norm=clip_norm)
        self.module = self.wrap(group, runtime)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")

    def wrap(self, group: Group, runtime: Runtime) -> nn.Module:
        """Return the module that runs the networks and reduces their gradients."""
        return runtime.distribute(group)

    def __call__(self, network: str, *inputs: Any) -> Any:
        """Run a network through DDP."""
        return self.module(network, *inputs)

    def reduce_gradients(self, when: bool) -> contextlib.AbstractContextManager[None]:
        """Return DDP's `no_sync` unless `when`; it must cover the forward: DDP decides there whether to reduce."""
        if not when and isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return contextlib.nullcontext()

    def backward(self, loss: Tensor, micros: int) -> None:
        """Scale the loss and add its gradients."""
        torch.autograd.backward(self.scaler.scale(loss / micros))

    def gradient_norm(self) -> Tensor:
        """Unscale, measure and clip; the gradients are reduced, so every rank finds the same."""
        self.scaler.unscale_(self.optimizer)
        limit = self.clip_norm if self.clip_norm is not None else float("inf")
        return nn.utils.clip_grad_norm_(self.parameters, limit)

    def update(self, finite: bool) -> None:
        """Step unless not finite; the scale follows this player's own overflows alone."""
        if finite:
            self.optimizer.step()  # the scaler would fetch from the device what is known here
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the optimizer's state, which every rank has whole."""
        return optimizer_tensors(self.optimizer)

    def load_optimizer_state(self, tensors: dict[str, Tensor]) -> None:
        """Load it; the parameter groups keep the configuration's settings."""
        load_optimizer(self.optimizer, tensors)

    def scaler_state(self) -> dict[str, Any]:
        """Return the scale and its growth counter; empty unless in fp16."""
        return dict(self.scaler.state_dict())

    def load_scaler_state(self, state: dict[str, Any]) -> None:
        """Load it; a run that was not in fp16 before starts with a new scaler."""
        if state:
            self.scaler.load_state_dict(state)


def assert_each_once(name: str, networks: Networks, optimizer: torch.optim.Optimizer) -> None:
    """Check that the optimizer's groups hold every trainable parameter exactly once.

    A parameter listed twice is stepped twice: the lineage trains its backbone at three times the rate it states.

    Raises:
        ValueError: names the first parameter that is missing or repeated.
    """
    listed = [id(p) for settings in optimizer.param_groups for p in settings["params"]]
    for component, network in networks.items():
        for key, parameter in network.named_parameters():
            if parameter.requires_grad and (times := listed.count(id(parameter))) != 1:
                raise ValueError(f"{name}: {component}.{key} is {times} times in the optimizer's groups")
