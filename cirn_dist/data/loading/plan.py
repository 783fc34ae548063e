"""Who reads which samples of a step: the global batch cut into micro-batches and ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cirn_dist.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """One rank's part of every step. Step t consumes the counters k in [tB, (t+1)B), whatever the world is.

    Args:
        images_per_step: B, the global batch.
        world: R, the number of ranks.
        rank: r, this one.
        micro_batch: b, images per forward pass.

    Raises:
        ConfigError: R * b does not divide B; lists the worlds that do.
    """

    images_per_step: int
    world: int = 1
    rank: int = 0
    micro_batch: int = 1

    def __post_init__(self) -> None:
        if self.images_per_step % (self.world * self.micro_batch):
            legal = [
                str(world)
                for world in range(1, self.images_per_step + 1)
                if self.images_per_step % (world * self.micro_batch) == 0
            ]
            advice = f"worlds that do: {', '.join(legal)}" if legal else f"micro_batch {self.micro_batch} fits no world"
            raise ConfigError(
                f"{self.world} ranks x micro_batch {self.micro_batch} does not divide {self.images_per_step}",
                where="engine.images_per_step",
                fix=advice,
            )
        if not 0 <= self.rank < self.world:
            raise ConfigError(f"rank {self.rank} of {self.world}", where="engine")

    @property
    def accumulation(self) -> int:
        """A = B / (R b), micro-batches per step and rank."""
        return self.images_per_step // (self.world * self.micro_batch)

    def ks(self, step: int, micro: int) -> list[int]:
        """Return the counters of one micro-batch: k = tB + a(R b) + r b + i for i in range(b)."""
        first = step * self.images_per_step + (micro * self.world + self.rank) * self.micro_batch
        return list(range(first, first + self.micro_batch))

    def batches(self, first_step: int, last_step: int) -> Iterator[list[int]]:
        """Yield this rank's micro-batches of steps [first_step, last_step), starting in no time at any step."""
        for step in range(first_step, last_step):
            for micro in range(self.accumulation):
                yield self.ks(step, micro)
