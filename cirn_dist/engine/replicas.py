"""Do all ranks hold the same? Settings and data when a run starts, parameters while it trains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cirn_dist.engine.players import Player
from cirn_dist.engine.runtime import Runtime
from cirn_dist.errors import ConfigError, TrainingError

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ODD, _ODD2 = -7046029254386353131, -4658895280553007687  # splitmix64's constants, as signed 64-bit integers


def assert_same_facts(runtime: Runtime, facts: Mapping[str, object], what: str) -> None:
    """Compare named facts over ranks, all ranks together.

    Args:
        what: what they are, for the message: "configuration", "data".

    Raises:
        ConfigError: on all ranks; names the first rank that differs from rank 0, and everything that differs there.
    """
    every = runtime.gather(dict(facts))
    first = every[0]
    for rank, other in enumerate(every):
        keys = [key for key in sorted(first.keys() | other.keys()) if first.get(key) != other.get(key)]
        if keys:
            differences = ", ".join(f"{key} is {first.get(key)!r} on rank 0, {other.get(key)!r} there" for key in keys)
            error = ConfigError(
                f"rank {rank} differs in {what}: {differences}", fix="start every rank with the same command and data"
            )
            raise error.on_all_ranks()


def assert_replicas_equal(players: Mapping[str, Player], runtime: Runtime, where: str) -> None:
    """Compare the bits of every component's parameters over ranks, all ranks together.

    Args:
        where: stage and iteration, for the message.

    Raises:
        TrainingError: on all ranks; names the first component that differs, and the ranks that differ from rank 0.
    """
    networks = {name: network for player in players.values() for name, network in player.networks.items()}
    if runtime.world == 1 or not networks:
        return
    every = runtime.gather(torch.stack([checksum(network) for network in networks.values()]).tolist())
    for number, component in enumerate(networks):
        others = [str(rank) for rank, sums in enumerate(every) if sums[number] != every[0][number]]
        if others:
            error = TrainingError(
                f"{component} is not the same on all ranks: rank {', '.join(others)} differs from rank 0",
                where=where,
                fix="start again from the last checkpoint; a rank's memory or a change to its networks may be at fault",
            )
            raise error.on_all_ranks()


@torch.no_grad()
def checksum(network: nn.Module) -> Tensor:
    """Return a 64-bit hash of a network's parameters, on its device: int64, no dimension.

    Every element's bits are multiplied by an odd number that depends on its place, so that one changed bit always
    shows, and values that changed places, or changes that cancel in a sum, do as well.
    """
    total: Tensor | None = None
    for parameter in network.parameters():
        bits = parameter.detach().flatten().view(_BITS[parameter.element_size()]).to(torch.int64)
        place = torch.arange(1, len(bits) + 1, device=bits.device) * _ODD
        weights = (place ^ (place >> 31)) * _ODD2 | 1
        own = (bits * weights).sum()
        total = own if total is None else total * _ODD + own
    return torch.zeros((), dtype=torch.int64) if total is None else total
