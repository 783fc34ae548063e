"""What memory each stage of a configuration will need on one rank, before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from cirn_dist.choices import Precision
from cirn_dist.config.schema import Config
from cirn_dist.engine.arithmetic import choose_kernels
from cirn_dist.measure.findings import Footprint
from cirn_dist.measure.memory import counted_peak, measured_peak
from cirn_dist.measure.rehearsal import Work, rehearsals


def footprints(
    config: Config, precision: Precision, device: str = "cpu", only: Sequence[str] | None = None
) -> list[Footprint]:
    """Estimate the stages of a configuration: on a GPU by running a step of each there, else by counting.

    Args:
        only: these stages; all of them unless given.
    """
    measured, engine = device == "cuda", config.engine
    if measured:
        choose_kernels(deterministic=engine.deterministic or engine.backend == "exact", tf32=engine.tf32)
    with rehearsals(config, precision, device) as works:
        return [_footprint(stage, begin, measured) for stage, begin in works.items() if only is None or stage in only]


def _footprint(stage: str, begin: Callable[[], Work], measured: bool) -> Footprint:
    begun: list[Work] = []

    def build() -> Callable[[], None]:
        begun.append(begin())
        return begun[0].step

    peak = (measured_peak if measured else counted_peak)(build)
    (work,) = begun
    trained = [parameter for player in work.players for parameter in player.parameters]
    return Footprint(
        stage,
        f"{work.images[0]}x{work.images[1]}",
        parameters=_bytes(t for network in work.networks for t in (*network.parameters(), *network.buffers())),
        gradients=_bytes(trained),
        optimizer=_bytes(
            value
            for player in work.players
            for state in player.optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor) and value.dim()  # a step's number has no dimension
        ),
        total=peak,
        measured=measured,
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
