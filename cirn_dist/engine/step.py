"""One step: every pass of every micro-batch, one reduction of each player's gradients, one update of each player."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cirn_dist.engine.players import Player
from cirn_dist.engine.runtime import Runtime, frozen

Batch = dict[str, Any]
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Pass:
    """One forward and backward for one player.

    Attributes:
        player: whose gradients it makes; all other players are frozen meanwhile.
        losses: (batch, iteration) -> named weighted terms, summed for backward. What one pass computes for the
            next (translated images, say) it leaves in the batch.
        observe: batch -> named scalars to log after the pass, without gradients; they train nothing.
    """

    player: str
    losses: Callable[[Batch, int], Losses]
    observe: Callable[[Batch], Losses] | None = None


@dataclass
class StepResult:
    """What a step reports, averaged over all its images on all ranks."""

    losses: dict[str, float] = field(default_factory=dict)
    observed: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    stop: bool = False


def train_step(
    players: Mapping[str, Player],
    passes: Sequence[Pass],
    micro_batches: Sequence[Batch],
    iteration: int,
    runtime: Runtime,
    *,
    stop: bool = False,
) -> StepResult:
    """Train every player on one step's micro-batches.

    All players update together at the end. That equals the papers' order (generator first, then discriminator),
    because the discriminator's loss uses images and weights from before either update.

    A player whose loss or gradient is not finite on any rank is not updated on any.

    Args:
        stop: whether this rank was asked to stop; the answer, agreed by all ranks, is in the result.
    """
    last_pass = {step_pass.player: step_pass for step_pass in passes}
    total: Losses = {}
    observed: Losses = {}
    spent = {name: torch.zeros((), device=runtime.device) for name in players}  # each one's whole loss
    for micro, batch in enumerate(micro_batches):
        last_micro = micro == len(micro_batches) - 1
        for step_pass in passes:
            player = players[step_pass.player]
            others = [net for other in players.values() if other is not player for net in other.networks.values()]
            reduce_now = last_micro and step_pass is last_pass[step_pass.player]
            with frozen(others), player.reduce_gradients(reduce_now):
                with runtime.autocast():
                    terms = step_pass.losses(batch, iteration)
                # The mean of B single-image gradients: micro-batch mean, over micro-batches here, over ranks in DDP.
                loss = torch.stack(list(terms.values())).sum()
                player.backward(loss, len(micro_batches))
            _add(spent, {step_pass.player: loss})
            _add(total, terms)
            if step_pass.observe is not None:
                with torch.no_grad():
                    _add(observed, step_pass.observe(batch))

    bad = [_not_finite(player.gradient_norm(), spent[name]) for name, player in players.items()]
    stop_flag = torch.tensor(float(stop), device=runtime.device)
    summed = iter(runtime.sum(torch.stack([*total.values(), *observed.values(), *bad, stop_flag])).tolist())
    micros = len(micro_batches) * runtime.world
    result = StepResult(
        losses={name: next(summed) / micros for name in total},
        observed={name: next(summed) / micros for name in observed},
    )
    for name, player in players.items():
        finite = next(summed) == 0
        if not finite:
            result.skipped.append(name)
        player.update(finite)
    result.stop = next(summed) > 0
    return result


def _not_finite(norm: Tensor, loss: Tensor) -> Tensor:
    """Return 1.0 where a player may not step: its gradients, or the loss they came from, are not finite."""
    return (torch.isfinite(norm) & torch.isfinite(loss)).logical_not().float()


def _add(sums: Losses, terms: Losses) -> None:
    for name, term in terms.items():
        value = term.detach().float()
        sums[name] = sums[name] + value if name in sums else value
