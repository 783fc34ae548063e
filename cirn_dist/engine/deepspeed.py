"""Players on DeepSpeed: optimizer state sharded over ranks (ZeRO 1), gradients too (ZeRO 2), or neither (stage 0).

One DeepSpeed engine per player, through DeepSpeed's own API: Accelerate's plugin takes one model per process and
steps inside `backward`. Parameters and optimizer state stay float32 and mixed precision is PyTorch's autocast, as with
DDP, so both backends train the same and read each other's checkpoints.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cirn_dist.checkpoint.state import by_parameter
from cirn_dist.engine.players import DdpPlayer, Group
from cirn_dist.engine.runtime import Runtime
from cirn_dist.errors import ConfigError
from cirn_dist.libraries import installed

_BUCKET = 25_000_000  # elements reduced or gathered at once; DeepSpeed's default is a buffer of 2 GB per player
_WHERE = "engine.backend"


def assert_usable(runtime: Runtime) -> None:
    """Check that players can run on DeepSpeed here, before anything is written.

    Raises:
        ConfigError: it is not installed, there is no process group to shard over, or it lacks the precision.
    """
    if not installed("deepspeed"):
        raise ConfigError(
            "deepspeed is not installed", where=_WHERE, fix="pip install 'cirn-dist[deepspeed]' or use ddp"
        )
    if not dist.is_initialized():
        raise ConfigError(
            "deepspeed shards over ranks and this process was started alone",
            where=_WHERE,
            fix="use accelerate launch or torchrun, or ddp: its checkpoints are the same",
        )
    if runtime.precision == "fp64":
        raise ConfigError("deepspeed keeps optimizer state in float32 at most", where=_WHERE, fix="use ddp for fp64")


class DeepSpeedPlayer(DdpPlayer):
    """A player whose gradients DeepSpeed reduces (stage 0): once per step, at the accumulation boundary."""

    stage = 0
    # DeepSpeed broadcasts, flattens and views parameters as rows of memory.
    memory_format = torch.contiguous_format

    def wrap(self, group: Group, runtime: Runtime) -> nn.Module:
        """Make the engine; the optimizer's groups hold this rank's partitions afterwards in ZeRO 1 and 2."""
        self.device = runtime.device
        self.listed = [list(settings["params"]) for settings in self.optimizer.param_groups]
        size = sum(parameter.numel() for parameter in self.parameters)
        bucket = min(_BUCKET, size + size % 2)
        self.engine = _deepspeed(runtime).initialize(
            model=_Autocast(group, runtime),
            optimizer=self.optimizer,
            config={
                # Losses arrive divided by the accumulation; the boundary is announced, not counted.
                "train_micro_batch_size_per_gpu": 1,
                "gradient_accumulation_steps": 1,
                "gradient_clipping": (self.clip_norm or 0.0) if self.stage else 0.0,
                "zero_allow_untested_optimizer": True,  # SGD: elementwise, as sharding needs
                "zero_optimization": {
                    "stage": self.stage,
                    "reduce_bucket_size": bucket,
                    "allgather_bucket_size": bucket,
                    "round_robin_gradients": False,
                },
            },
        )[0]
        runtime.engines.append(self.engine)
        module: nn.Module = self.engine
        return module

    def __call__(self, network: str, *inputs: Any) -> Any:
        """Run a network through the engine, which would turn an outer autocast off; it is on inside."""
        with torch.autocast(self.device.type, enabled=False):
            return self.module(network, *inputs)

    def reduce_gradients(self, when: bool) -> contextlib.AbstractContextManager[None]:
        """Announce whether this pass is the accumulation boundary; ZeRO 2 shards the gradients of every pass."""
        self.engine.set_gradient_accumulation_boundary(when)
        return contextlib.nullcontext()

    def backward(self, loss: Tensor, micros: int) -> None:
        """Scale the loss and add its gradients."""
        self.engine.backward(self.scaler.scale(loss / micros))


class ZeroPlayer(DeepSpeedPlayer):
    """A player with its optimizer state sharded over ranks; parameters stay whole on every rank."""

    stage = 1

    @property
    def sharded(self) -> Any:
        """DeepSpeed's optimizer around the player's own."""
        return self.engine.optimizer

    def backward(self, loss: Tensor, micros: int) -> None:
        """Add the loss's gradients, scaled by this player's own scaler: DeepSpeed's would start anew on resume."""
        if self.scaler.is_enabled():
            self.sharded.override_loss_scale(self.scaler.get_scale())
        self.engine.backward(loss / micros)

    def gradient_norm(self) -> Tensor:
        """Measure the shards together; clipping and unscaling happen where they are stepped."""
        norm = self.sharded.scaled_global_norm() / self.sharded.loss_scale
        self.norm = torch.as_tensor(norm, dtype=torch.float32, device=self.device)
        return self.norm

    def update(self, finite: bool) -> None:
        """Step the shards and gather the parameters, or drop the gradients."""
        if finite:
            self.engine.step()
        else:
            self.engine.zero_grad()  # the shard's own buffer is written anew at the next boundary
        if self.scaler.is_enabled():
            self._let_scaler_see(self.norm)

    def _let_scaler_see(self, norm: Tensor) -> None:
        # A scaler learns of overflows from an optimizer's gradients, and the shard's are DeepSpeed's: it is shown
        # their norm in their place.
        witness = nn.Parameter(torch.zeros_like(norm))
        witness.grad = self.scaler.scale(norm)
        self.scaler.step(torch.optim.SGD([witness], lr=0.0))
        self.scaler.update()

    def optimizer_state(self) -> dict[str, Tensor]:
        """Return the state gathered over ranks, in the layout of a whole optimizer's."""
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link()
        tensors: dict[str, Tensor] = {}
        number = 0
        for settings, parameters in zip(self.optimizer.param_groups, self.listed, strict=True):
            shard = settings["params"][0]
            entries = self.optimizer.state.get(shard, {})
            for parameter in parameters:
                for name, value in entries.items():
                    if isinstance(value, Tensor) and value.shape == shard.shape:
                        tensors[f"{number}.{name}"] = safe_get_full_optimizer_state(parameter, name)
                    elif value is not None:
                        tensors[f"{number}.{name}"] = torch.as_tensor(value)
                number += 1
        return tensors

    def load_optimizer_state(self, tensors: dict[str, Tensor]) -> None:
        """Take this rank's shards of a whole optimizer's state, and of the weights the networks have now."""
        from deepspeed.utils import safe_set_full_optimizer_state

        self.sharded.refresh_fp32_params()
        state = by_parameter(tensors)
        if not state:
            return
        numbered = enumerate(parameter for parameters in self.listed for parameter in parameters)
        whole = [(parameter, name, value) for number, parameter in numbered for name, value in state[number].items()]
        for settings, parameters in zip(self.optimizer.param_groups, self.listed, strict=True):
            shard = settings["params"][0]
            mine = {id(parameter) for parameter in parameters}
            self.optimizer.state[shard] = {
                name: torch.zeros_like(shard) if value.shape == parameter.shape else value.clone()
                for parameter, name, value in whole
                if id(parameter) in mine
            }
        self._link()
        for parameter, name, value in whole:
            if value.shape == parameter.shape:
                safe_set_full_optimizer_state(parameter, value.to(self.device), name)

    def _link(self) -> None:
        # DeepSpeed links parameters to their shard's state once, when its first group has stepped for the first time:
        # later groups have no state then, and in a resumed run no group has stepped at all.
        self.sharded._hp_optimizer_states_linked = False
        self.sharded._lazy_init_hp_params_optimizer_state()


class Zero2Player(ZeroPlayer):
    """A player with its gradients sharded too: less memory, one reduction for every pass of a step."""

    stage = 2


STAGES: Mapping[int, type[DeepSpeedPlayer]] = {0: DeepSpeedPlayer, 1: ZeroPlayer, 2: Zero2Player}


class _Autocast(nn.Module):
    """A group under the run's autocast."""

    def __init__(self, group: Group, runtime: Runtime) -> None:
        super().__init__()
        self.group, self.autocast = group, runtime.autocast

    def forward(self, network: str, *inputs: Any) -> Any:
        """Call the network of that name."""
        with self.autocast():
            return self.group(network, *inputs)


def _deepspeed(runtime: Runtime) -> Any:
    """Import DeepSpeed, which takes seconds, and quiet it: its notes on every engine would drown the run's own."""
    os.environ.setdefault("DS_ACCELERATOR", runtime.device.type)  # it would guess, and warn that it did
    warnings.filterwarnings("ignore", r"`torch\.distributed\.all_gather_into_tensor` is deprecated", FutureWarning)
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    if runtime.device.type == "cpu":
        # It would compile a shared-memory collective with the machine's compiler, if there is one: gloo will do.
        vars(deepspeed.ops).setdefault("__compatible_ops__", {})
    return deepspeed
