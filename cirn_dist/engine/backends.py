"""Who reduces a player's gradients over ranks, by `engine.backend`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from cirn_dist.engine.deepspeed import STAGES
from cirn_dist.engine.exact import ExactPlayer
from cirn_dist.engine.players import DdpPlayer, Networks, Player
from cirn_dist.engine.runtime import Runtime


def build_player(
    name: str,
    networks: Networks,
    optimizer: Callable[[], torch.optim.Optimizer],
    schedule: Callable[[int], float],
    runtime: Runtime,
    *,
    clip_norm: float | None = None,
) -> Player:
    """Give a network group its optimizer and the run's way over ranks: DDP, exact sums, or DeepSpeed's ZeRO stage."""
    kind: type[DdpPlayer] = DdpPlayer
    if runtime.backend == "exact":
        kind = ExactPlayer
    elif runtime.backend == "deepspeed":
        kind = STAGES[runtime.zero_stage]
    return kind(name, networks, optimizer, schedule, runtime, clip_norm=clip_norm)
