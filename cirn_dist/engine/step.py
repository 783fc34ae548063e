"""One step: every pass of every micro-batch, one reduction of each player's gradients, one update of each player."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from cirn_dist.engine.players import Player
from cirn_dist.engine.runtime import Runtime, frozen

Batch = dict[str, Any]
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Pass:
    """What one forward pass ends with.

    Attributes:
        losses: named weighted terms, summed for backward.
        observe: returns named scalars to log; called after backward, without gradients; they train nothing.
    """

    losses: Losses
    observe: Callable[[], Losses] | None = None


# (micro-batch, iteration) -> one Pass per turn. A stage writes it as a generator, a `yield` per pass, so that what one
# pass computes for the next (translated images, say) is a local variable.
Passes = Callable[[Batch, int], Iterator[Pass]]


class MicroBatches(Protocol):
    """A step's micro-batches, walked once; the next may be on its way while one is computed with."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """Return an iterator over them."""
        ...


@dataclass
class StepResult:
    """What a step reports, averaged over all its images on all ranks."""

    losses: dict[str, float] = field(default_factory=dict)
    observed: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    stop: bool = False


def train_step(
    players: Mapping[str, Player],
    turns: Sequence[str],
    passes: Passes,
    micro_batches: MicroBatches,
    iteration: int,
    runtime: Runtime,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> StepResult:
    """Train every player on one step's micro-batches.

    All players update together at the end. That equals the papers' order (generator first, then discriminator),
    because the discriminator's loss uses images and weights from before either update.

    A player whose loss or gradient is not finite on any rank is not updated on any.

    Args:
        turns: of each pass, the player whose gradients it makes; all other players are frozen meanwhile.
        passes: a micro-batch's passes, in the order of `turns`.
        stop: whether this rank was asked to stop, asked after the last pass; what all ranks agreed is in the result.
    """
    if runtime.compile_mode == "reduce-overhead":  # what a graph returned in the last step may be written over
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
    sums = accumulate(players, turns, passes, micro_batches, iteration, runtime)
    bad = [_not_finite(player.gradient_norm(), sums.spent[name]) for name, player in players.items()]
    stop_flag = torch.full((), float(stop()), device=runtime.device)
    summed = iter(runtime.sum(torch.stack([*sums.losses.values(), *sums.observed.values(), *bad, stop_flag])).tolist())
    micros = len(micro_batches) * runtime.world
    result = StepResult(
        losses={name: next(summed) / micros for name in sums.losses},
        observed={name: next(summed) / micros for name in sums.observed},
    )
    for name, player in players.items():
        finite = next(summed) == 0
        if not finite:
            result.skipped.append(name)
        player.update(finite)
    result.stop = next(summed) > 0
    return result


@dataclass
class Sums:
    """What a step's passes add up to: each player's whole loss, and the named terms and observations."""

    spent: Losses
    losses: Losses = field(default_factory=dict)
    observed: Losses = field(default_factory=dict)


def accumulate(
    players: Mapping[str, Player],
    turns: Sequence[str],
    passes: Passes,
    micro_batches: MicroBatches,
    iteration: int,
    runtime: Runtime,
) -> Sums:
    """Add up every player's gradients over a step's micro-batches; the arguments are `train_step`'s."""
    sums = Sums({name: torch.zeros((), device=runtime.device) for name in players})
    left = len(micro_batches)
    for batch in micro_batches:  # no enumerate, which keeps the last one alive while the next is made
        left -= 1
        coming = passes(batch, iteration)
        del batch
        _walk(players, turns, coming, len(micro_batches), runtime, sums, last=left == 0)
        del coming
    return sums


def _walk(
    players: Mapping[str, Player],
    turns: Sequence[str],
    coming: Iterator[Pass],
    micro_batches: int,
    runtime: Runtime,
    sums: Sums,
    *,
    last: bool,
) -> None:
    """Walk one micro-batch's passes; what they made of it is dropped with this function's variables."""
    last_turn = {name: turn for turn, name in enumerate(turns)}
    for turn, name in enumerate(turns):
        player = players[name]
        others = [net for other in players.values() if other is not player for net in other.networks.values()]
        with frozen(others), player.reduce_gradients(last and turn == last_turn[name]):
            with runtime.autocast():
                one = next(coming)
            # The mean of B single-image gradients: micro-batch mean, over micro-batches here, over ranks in DDP.
            loss = torch.stack(list(one.losses.values())).sum()
            player.backward(loss, micro_batches)
        _add(sums.spent, {name: loss})
        _add(sums.losses, one.losses)
        if one.observe is not None:
            with torch.no_grad():
                _add(sums.observed, one.observe())
    if next(coming, None) is not None:
        raise AssertionError(f"the step has more passes than its {len(turns)} turns")


def _not_finite(norm: Tensor, loss: Tensor) -> Tensor:
    """Return 1.0 where a player may not step: its gradients, or the loss they came from, are not finite."""
    return (torch.isfinite(norm) & torch.isfinite(loss)).logical_not().float()


def _add(sums: Losses, terms: Losses) -> None:
    for name, term in terms.items():
        value = term.detach().float()
        sums[name] = sums[name] + value if name in sums else value
