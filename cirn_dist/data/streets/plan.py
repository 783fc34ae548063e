"""The plan of a street: where its kerbs, building lines and side street are. Side -1 is left, 1 is right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from cirn_dist.data.streets.appearance import Look
from cirn_dist.data.streets.canvas import Camera

SIDES = (-1, 1)


@dataclass(frozen=True)
class SideStreet:
    """A gap between two distances on one side, paved with asphalt."""

    side: int
    near: float
    far: float


@dataclass(frozen=True)
class Plan:
    """Distances from the camera's axis, in metres, keyed by side; `traffic_side` is the side of oncoming traffic."""

    kerb: dict[int, float]
    walk: dict[int, float]
    setback: dict[int, float]
    grass: dict[int, bool]
    traffic_side: int
    side_street: SideStreet | None

    def front(self, side: int) -> float:
        """Distance from the axis to the building line."""
        return self.kerb[side] + self.walk[side] + self.setback[side]

    def opens(self, side: int, near: float, far: float) -> bool:
        """Whether a plot from near to far would stand in the side street."""
        gap = self.side_street
        return gap is not None and gap.side == side and near < gap.far and far > gap.near

    def in_side_street(self, x: float, z: float) -> bool:
        """Whether (x, z) lies on the side street's asphalt, beyond the kerb."""
        side = 1 if x > 0 else -1
        return abs(x) > self.kerb[side] and self.opens(side, z, z)


def poisson(rng: Random, mean: float) -> int:
    """Draw a Poisson count as Knuth does, by a product of uniforms."""
    count, product, floor = 0, rng.random(), math.exp(-mean)
    while product > floor:
        count, product = count + 1, product * rng.random()
    return count


def draw_plan(rng: Random) -> Plan:
    """Draw a street's plan."""
    oncoming = rng.choice(SIDES)
    wide = rng.random() < 0.12  # A junction or a car park rather than a street.
    near_kerb = rng.uniform(4, 9) if wide else rng.uniform(1.7, 3.4)
    far_kerb = rng.uniform(8, 16) if wide else rng.uniform(3.8, 8.0)
    gap = None
    if rng.random() < 0.4:
        near = rng.uniform(7, 40)
        gap = SideStreet(rng.choice(SIDES), near, near + rng.uniform(5, 10))
    return Plan(
        {oncoming: far_kerb, -oncoming: near_kerb},
        {side: rng.uniform(1.2, 3.4) for side in SIDES},
        {side: 0.0 if rng.random() < 0.6 else rng.uniform(1, 6) for side in SIDES},
        {side: rng.random() < 0.2 for side in SIDES},
        oncoming,
        gap,
    )


def draw_camera(rng: Random, look: Look, width: int, height: int) -> Camera:
    """Draw the camera of a car: behind the windscreen, looking along the street or slightly aside."""
    focal = width * (rng.uniform(0.8, 1.15) if look.appearance == "synthetic" else rng.uniform(0.9, 1.1))
    spread = 0.08 if look.appearance == "synthetic" else 0.05
    return Camera(
        width,
        height,
        focal,
        height * (0.49 + rng.uniform(-spread, spread)),
        width / 2 + focal * rng.gauss(0, 0.09),
        rng.uniform(1.15, 1.9),
        0.0 if rng.random() < 0.5 else rng.gauss(0, 0.0015),
    )
