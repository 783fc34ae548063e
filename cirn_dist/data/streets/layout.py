"""Furnishes a street: decides what stands where, then draws everything from far to near."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from cirn_dist.data.streets import buildings, furniture, people, vegetation, vehicles
from cirn_dist.data.streets.appearance import hsv
from cirn_dist.data.streets.canvas import Brush, World
from cirn_dist.data.streets.ground import disc, rectangle
from cirn_dist.data.streets.plan import SIDES, Plan, poisson
from cirn_dist.data.streets.vehicle_models import draw_model

Shadow = tuple[list[World], float]  # Ground polygon and the share of light left there.


@dataclass(frozen=True)
class Thing:
    """Something to draw: its far end's distance orders it, `paint` draws it, `shadow` lies under it."""

    distance: float
    paint: Callable[[], None]
    shadow: Shadow | None = None


class Layout:
    """Fills a plan with things; every `_add` method is one habit of a street."""

    def __init__(self, brush: Brush, rng: Random, plan: Plan) -> None:
        self.brush, self.rng, self.plan = brush, rng, plan
        self.synthetic = brush.look.appearance == "synthetic"
        self.things: list[Thing] = []

    def furnish(self) -> None:
        """Decide on everything in the street."""
        storeys = self.rng.uniform(5.0, 13.0)
        for side in SIDES:
            self._add_row(side, storeys)
            self._add_posts(side)
            self._add_boundaries(side)
            self._add_street_trees(side)
            self._add_parked(side)
            self._add_people(side)
        if self.rng.random() < 0.3:
            self._add_closing_block(storeys)
        self._add_traffic()

    def shadows(self) -> list[Shadow]:
        """Shadows of all things on the ground."""
        return [thing.shadow for thing in self.things if thing.shadow is not None]

    def paint(self) -> None:
        """Draw all things, far ones first."""
        for thing in sorted(self.things, key=lambda thing: -thing.distance):
            thing.paint()

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _add(
        self, distance: float, draw: Callable[..., None], *where: Any, shadow: Shadow | None = None, **how: Any
    ) -> None:
        """Add a thing drawn as draw(brush, rng, *where, **how), with its own source of chance.

        So the street is the same at any size: how finely a thing is drawn does not change what is drawn after it.
        """
        chance = Random(self.rng.getrandbits(64))
        self.things.append(Thing(distance, partial(draw, self.brush, chance, *where, **how), shadow))

    def _stand(self, draw: Callable[..., None], x: float, z: float, radius: float = 0.2, **how: Any) -> None:
        """Add something upright at (x, z), with a round shadow, where the camera sees it, not in the side street."""
        if z > 1.5 and self.brush.camera.sees(x, z, 6.0) and not self.plan.in_side_street(x, z):
            self._add(z, draw, x, z, shadow=(disc(x, z, radius), 0.55), **how)

    # Buildings and what fills the gaps between them.

    def _add_row(self, side: int, storeys: float) -> None:
        rng, plan = self.rng, self.plan
        green = 0.14 if self._chance(0.65) else 0.5
        z = rng.uniform(-6, 2)
        while z < 130:
            near, far = max(z, 0.8), z + rng.uniform(5, 18)
            z = far
            if far < 1.2:
                continue
            if plan.opens(side, near, far):
                self._add_trees_behind(side, near, far, 1)
            elif self._chance(green):
                self._add_garden(side, near, far)
            else:
                self._add_building(side, near, far, max(3.4, rng.gauss(storeys, 2.2)))

    def _add_building(self, side: int, near: float, far: float, height: float) -> None:
        rng = self.rng
        x = self.plan.front(side) + abs(rng.gauss(0, 0.25)) + (rng.uniform(2, 6) if self._chance(0.08) else 0.0)
        shadow = self._building_shadow(side * x, near, far, height)
        self._add(far, buildings.building, side, x, near, far, height, shadow=shadow)

    def _building_shadow(self, x: float, near: float, far: float, height: float) -> Shadow:
        sun = self.brush.look.sun
        if sun[0] * x <= 0:
            reach = 1.0 if x < 0 else -1.0
            return rectangle(x, x + reach, near, far), 0.75
        across, along = -sun[0] / 0.3 * height, -sun[2] / 0.3 * height
        shape: list[World] = [(x, 0, near), (x, 0, far), (x + across, 0, far + along), (x + across, 0, near + along)]
        return shape, 0.55

    def _add_closing_block(self, storeys: float) -> None:
        rng, z = self.rng, self.rng.uniform(35, 110)
        left = -self.plan.front(-1) - rng.uniform(0, 25)
        right = self.plan.front(1) + rng.uniform(0, 25)
        self._add(z, buildings.block, left, right, z, max(4.0, storeys))

    def _add_garden(self, side: int, near: float, far: float) -> None:
        rng, front = self.rng, self.plan.front(side)
        self._add_trees_behind(side, near, far, rng.randrange(1, 4))
        if self._chance(0.45):
            self._boundary(side * (front - 0.1), near + 0.1, far)
        else:
            for _ in range(4):
                self._stand(vegetation.hedge, side * front, rng.uniform(near, far), 0.8)

    def _add_trees_behind(self, side: int, near: float, far: float, count: int) -> None:
        for _ in range(count):
            x = side * (self.plan.front(side) + self.rng.uniform(1, 8))
            self._tree(x, self.rng.uniform(near + 2, far + 3))

    def _tree(self, x: float, z: float) -> None:
        bare = self._chance(0.4 if self.synthetic else 0.55)
        self._stand(vegetation.tree, x, z, 1.6, bare=bare)

    # The pavement.

    def _add_street_trees(self, side: int) -> None:
        rng, plan = self.rng, self.plan
        if not self._chance(0.4):
            return
        z, pitch = rng.uniform(6, 16), rng.uniform(7, 14)
        while z < 80:
            self._tree(side * (plan.kerb[side] + min(plan.walk[side], 1.2) + rng.gauss(0, 0.2)), z)
            z += pitch

    def _add_posts(self, side: int) -> None:
        rng, kerb = self.rng, self.plan.kerb[side]
        paint = hsv(rng.choice((0.33, 0.6, 0.1)), rng.uniform(0, 0.4), rng.uniform(0.15, 0.65))
        if self._chance(0.8):
            z, pitch, height, arm = rng.uniform(4, 20), rng.uniform(14, 28), rng.uniform(5, 9), self._chance(0.7)
            while z < 100:
                self._stand(furniture.lamp, side * (kerb + 0.45), z, height=height, arm=arm, paint=paint)
                z += pitch
        for _ in range(rng.randrange(4)):
            x, z = side * (kerb + rng.uniform(0.3, 1.0)), rng.uniform(4.5, 35)
            kind = rng.random()
            if kind < 0.45:
                self._stand(furniture.sign, x, z, post=paint)
            elif kind < 0.75:
                self._stand(furniture.traffic_light, x, z)
            else:
                self._stand(furniture.bollard, x, z)
        if self._chance(0.2):
            z, pitch = rng.uniform(3.5, 12), rng.uniform(1.5, 3)
            for step in range(rng.randrange(4, 9)):
                self._stand(furniture.bollard, side * (kerb + 0.35), z + step * pitch)
        for _ in range(rng.randrange(4)):
            self._stand(furniture.hanging_sign, side * (self.plan.front(side) - 0.4), rng.uniform(8, 32), 0.0)
        if self._chance(0.35):
            self._stand(furniture.clutter, side * (kerb + rng.uniform(0.4, 1.2)), rng.uniform(5, 25), 0.35)

    def _add_boundaries(self, side: int) -> None:
        rng, plan = self.rng, self.plan
        if self._chance(0.22):
            near = rng.uniform(3, 25)
            self._boundary(side * (plan.kerb[side] + 0.3), near, near + rng.uniform(4, 15))
        if self._chance(0.55) and plan.setback[side] > 0.8:
            near = rng.uniform(3, 12)
            self._boundary(side * (plan.kerb[side] + plan.walk[side]), near, near + rng.uniform(8, 35))

    def _boundary(self, x: float, near: float, far: float) -> None:
        if self.plan.opens(1 if x > 0 else -1, near, far):
            return
        near = max(near, 0.8)
        shadow = rectangle(x - 0.3, x + 0.3, near, far)
        self._add(far, furniture.boundary, x, near, far, shadow=(shadow, 0.6))

    def _add_people(self, side: int) -> None:
        rng, plan = self.rng, self.plan

        def spot() -> float:
            return side * (plan.kerb[side] + rng.uniform(0.3, max(0.5, plan.walk[side] - 0.2)))

        for _ in range(poisson(self.rng, 1.5)):
            self._stand(people.pedestrian, spot(), rng.uniform(4, 40), 0.3)
        if self._chance(0.3):
            z = rng.uniform(6, 25)
            for _ in range(rng.randrange(2, 5)):
                self._stand(people.pedestrian, spot(), z + rng.uniform(-1, 1), 0.3)
        if self._chance(0.28):
            x = side * (plan.kerb[side] - rng.uniform(0.3, 0.8))
            self._stand(people.cyclist, x, rng.uniform(5, 30), 0.45)

    # The road.

    def _add_parked(self, side: int) -> None:
        rng, kerb = self.rng, self.plan.kerb[side]
        if not (self._chance(0.55) and kerb > 2.6):
            return
        x, z = side * (kerb - 1.05), rng.uniform(5, 20)
        nose_in = kerb > 8 and self._chance(0.6)
        while z < 70:
            if self._chance(0.72) and not self.plan.opens(side, z - 2, z + 2):
                turn = math.pi / 2 * side if nose_in else (0.0 if self._chance(0.5) else math.pi)
                self._vehicle(x - (side * 1.3 if nose_in else 0.0), z, turn + rng.gauss(0, 0.03), heavy=False)
            z += rng.uniform(2.4, 3.5) if nose_in else rng.uniform(5.2, 8.0)

    def _add_traffic(self) -> None:
        rng, plan = self.rng, self.plan
        if self._chance(0.55):
            self._vehicle(rng.gauss(0, 0.3), rng.uniform(7.5, 36), rng.gauss(0, 0.04), heavy=self._chance(0.15))
        lane = plan.traffic_side * min(plan.kerb[plan.traffic_side] - 1.2, 3.2)
        for _ in range(poisson(self.rng, 1.0)):
            heading = math.pi + rng.gauss(0, 0.05)
            self._vehicle(lane + rng.gauss(0, 0.2), rng.uniform(7, 58), heading, heavy=self._chance(0.15))
        if self._chance(0.15):
            x = rng.uniform(-plan.kerb[-1], plan.kerb[1])
            self._vehicle(x, rng.uniform(12, 40), rng.uniform(0, 2 * math.pi), heavy=False)
        if self._chance(0.15):
            self._stand(people.cyclist, rng.uniform(-1.2, 1.2), rng.uniform(6, 25), 0.45)
        if self._chance(0.12):
            x = rng.uniform(-plan.kerb[-1], plan.kerb[1])
            self._stand(people.pedestrian, x, rng.uniform(6, 20), 0.3)

    def _vehicle(self, x: float, z: float, heading: float, *, heavy: bool) -> None:
        model = draw_model(self.rng, heavy)
        nearest = 2.5 + model.length / 2
        z = max(z, nearest)
        if not self.brush.camera.sees(x, z - model.length / 2, 3.0):
            return
        pose = vehicles.Pose(x, z, heading)
        half, reach = model.width / 2 * 1.12, model.length / 2 + 0.15
        shadow = [pose.world(a, 0, b) for a, b in ((-half, -reach), (half, -reach), (half, reach), (-half, reach))]
        self._add(z, vehicles.vehicle, model, pose, shadow=(shadow, 0.3))
