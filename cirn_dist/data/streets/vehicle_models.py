"""The kinds of vehicle on the street, as measures."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Model:
    """One kind of vehicle, in metres and, along it, in shares of its length from the rear.

    Args:
        length: from bumper to bumper.
        width: at the belt and below.
        outline: (share, height) points of the profile, from the rear sill over the roof to the front sill.
        panes: the edges of the outline that are glass, each by the index of its first point.
        belt: height above which the cabin leans in.
        windows: (start, end) of each side window.
        window_rows: (low, high) of each row of side windows.
        wheel: radius of the wheels.
        taper: share of the width lost from the belt to the roof.
    """

    length: float
    width: float
    outline: Spans
    panes: tuple[int, ...]
    belt: float
    windows: Spans
    window_rows: Spans
    wheel: float = 0.31
    taper: float = 0.14


HATCHBACK = Model(
    length=3.9,
    width=1.7,
    outline=((0, 0.28), (0, 0.88), (0.09, 1.42), (0.52, 1.46), (0.76, 0.95), (0.97, 0.76), (1, 0.28)),
    panes=(1, 3),
    belt=0.9,
    windows=((0.12, 0.36), (0.38, 0.62)),
    window_rows=((0.96, 1.33),),
)
SALOON = Model(
    length=4.5,
    width=1.76,
    outline=((0, 0.28), (0, 0.86), (0.15, 0.95), (0.3, 1.38), (0.56, 1.42), (0.74, 0.95), (0.98, 0.75), (1, 0.28)),
    panes=(2, 4),
    belt=0.92,
    windows=((0.26, 0.43), (0.45, 0.64)),
    window_rows=((0.98, 1.3),),
)
ESTATE = Model(
    length=4.6,
    width=1.76,
    outline=((0, 0.28), (0, 0.9), (0.06, 1.42), (0.56, 1.45), (0.74, 0.95), (0.98, 0.75), (1, 0.28)),
    panes=(1, 3),
    belt=0.92,
    windows=((0.08, 0.24), (0.26, 0.43), (0.45, 0.64)),
    window_rows=((0.98, 1.33),),
)
OFF_ROADER = Model(
    length=4.5,
    width=1.86,
    outline=((0, 0.36), (0, 1.05), (0.05, 1.68), (0.56, 1.74), (0.7, 1.12), (0.98, 0.98), (1, 0.36)),
    panes=(1, 3),
    belt=1.05,
    windows=((0.08, 0.24), (0.26, 0.43), (0.45, 0.62)),
    window_rows=((1.12, 1.6),),
    wheel=0.36,
    taper=0.12,
)
PEOPLE_CARRIER = Model(
    length=4.3,
    width=1.78,
    outline=((0, 0.28), (0, 0.95), (0.06, 1.58), (0.5, 1.64), (0.82, 0.98), (0.97, 0.82), (1, 0.28)),
    panes=(1, 3),
    belt=0.95,
    windows=((0.1, 0.28), (0.3, 0.46), (0.48, 0.66)),
    window_rows=((1.02, 1.5),),
    taper=0.12,
)
VAN = Model(
    length=5.0,
    width=1.95,
    outline=((0, 0.32), (0, 1.2), (0.01, 1.95), (0.02, 2.15), (0.74, 2.2), (0.88, 1.28), (0.98, 1), (1, 0.32)),
    panes=(1, 4),
    belt=1.2,
    windows=((0.68, 0.83),),
    window_rows=((1.28, 1.95),),
    wheel=0.34,
    taper=0.05,
)
TRUCK = Model(
    length=7.0,
    width=2.3,
    outline=((0, 0.55), (0, 3.1), (0.74, 3.1), (0.98, 2.6), (1, 1.5), (1, 0.45)),
    panes=(3,),
    belt=1.5,
    windows=((0.8, 0.93),),
    window_rows=((1.55, 2.3),),
    wheel=0.45,
    taper=0.0,
)
_BUS_WINDOWS = tuple((0.03 + 0.135 * place, 0.15 + 0.135 * place) for place in range(7))
BUS = Model(
    length=10.0,
    width=2.45,
    outline=((0, 0.4), (0, 1.5), (0.004, 2.5), (0.01, 3), (0.98, 3), (1, 1.2), (1, 0.4)),
    panes=(1, 4),
    belt=1.3,
    windows=_BUS_WINDOWS,
    window_rows=((1.35, 2.5),),
    wheel=0.48,
    taper=0.02,
)
DOUBLE_DECKER = Model(
    length=10.0,
    width=2.45,
    outline=(
        *((0, 0.4), (0, 1.5), (0, 2.3), (0, 2.9), (0.004, 3.7), (0.01, 4.3)),
        *((0.98, 4.3), (0.985, 3.8), (0.99, 2.9), (0.992, 2.4), (1, 1.2), (1, 0.4)),
    ),
    panes=(1, 3, 7, 9),
    belt=1.3,
    windows=_BUS_WINDOWS,
    window_rows=((1.35, 2.3), (2.9, 3.75)),
    wheel=0.48,
    taper=0.0,
)

_CARS = {HATCHBACK: 0.32, SALOON: 0.2, ESTATE: 0.16, OFF_ROADER: 0.1, PEOPLE_CARRIER: 0.1, VAN: 0.12}
_HEAVY = {VAN: 0.5, TRUCK: 0.15, BUS: 0.15, DOUBLE_DECKER: 0.2}


def draw_model(rng: Random, heavy: bool) -> Model:
    """Draw a kind of vehicle: mostly cars, or vans, trucks and buses."""
    kinds = _HEAVY if heavy else _CARS
    return rng.choices(list(kinds), list(kinds.values()))[0]
