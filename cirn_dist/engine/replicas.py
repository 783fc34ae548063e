"""Do all ranks hold the same? Settings and data when a run starts, parameters while it trains."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cirn_dist.config.schema import Config
from cirn_dist.engine.players import Player
from cirn_dist.engine.runtime import Runtime
from cirn_dist.errors import ConfigError, TrainingError
from cirn_dist.precision import choose_precision, hardware

log = logging.getLogger(__name__)
_START_ALIKE = "start every rank with the same command and data"
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ODD, _ODD2 = -7046029254386353131, -4658895280553007687  # splitmix64's constants, as signed 64-bit integers


def assert_same_facts(
    runtime: Runtime,
    facts: Mapping[str, object],
    what: str,
    fix: str = _START_ALIKE,
) -> None:
    """Compare named facts over ranks, all ranks together.

    Args:
        what: what they are, for the message: "configuration", "data".
        fix: what to do where they differ.

    Raises:
        ConfigError: on all ranks; names the first rank that differs from rank 0, and everything that differs there.
    """
    every = runtime.gather(dict(facts))
    first = every[0]
    for rank, other in enumerate(every):
        keys = [key for key in sorted(first.keys() | other.keys()) if first.get(key) != other.get(key)]
        if keys:
            differences = ", ".join(f"{key} is {first.get(key)!r} on rank 0, {other.get(key)!r} there" for key in keys)
            raise ConfigError(f"rank {rank} differs in {what}: {differences}", fix=fix).on_all_ranks()


def assert_same_arithmetic(runtime: Runtime, config: Config) -> None:
    """Check that all ranks compute on one kind of device and in one precision, all ranks together.

    `auto` looks at each rank's own device: beside A100s, a node of V100s would train in fp16 and they in bf16. Other
    models of one kind only round otherwise; that is refused where the same bits are promised, and told elsewhere.

    Raises:
        ConfigError: on all ranks; names the first that differs from rank 0, or says what no rank can render in.
    """
    machine = hardware(runtime.device)
    facts: dict[str, object] = {"device": machine.device, "engine.precision": runtime.precision}
    impossible: ConfigError | None = None
    if config.render.precision is not None:
        try:
            facts["render.precision"] = choose_precision(config.render.precision, machine)
        except ConfigError as error:
            facts["render.precision"], impossible = "impossible", error
    if runtime.deterministic or runtime.backend == "exact":
        facts["model"] = machine.name
    fix = "use one kind of device, or set a precision that all of them have (fp16 on V100 and A100)"
    assert_same_facts(runtime, facts, "what it computes on", fix)
    if impossible is not None:
        raise impossible.on_all_ranks()
    models = sorted(set(runtime.gather(machine.name)))
    if runtime.main and len(models) > 1:
        log.warning("ranks compute on %s: each step takes as long as on the slowest", " and ".join(models))


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
