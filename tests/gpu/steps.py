"""Training a stage for some steps while its steps are watched: how long, in what phases, how much memory, what waits.

A stage's own function trains through the engine's own loop; what is watched is the step that the loop calls.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cirn_dist.engine import loop
from cirn_dist.engine.step import train_step

GIB = 2**30
WARM_UP, TIMED, PHASED, WAITED = 5, 12, 4, 2  # steps; after them one that is counted
STEPS = WARM_UP + TIMED + PHASED + WAITED + 1


class Watched:
    """The figures of a stage's steps."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.phases: dict[str, list[float]] = defaultdict(list)  # phase -> seconds of each step
        self.waits: Counter[str] = Counter()  # file:line -> host waits for the GPU, over all watched steps
        self.losses: list[dict[str, float]] = []
        self.peak = self.reserved = self.flop = 0

    @property
    def step(self) -> float:
        """Seconds of a step, the median, with all that the loop does around it."""
        timed = self.starts[WARM_UP : WARM_UP + TIMED + 1]
        return statistics.median(after - before for before, after in itertools.pairwise(timed))

    @property
    def outside(self) -> float:
        """Seconds of it that the loop spends between steps: waiting for images, starting uploads, logging."""
        pairs = zip(self.ends[WARM_UP : WARM_UP + TIMED], self.starts[WARM_UP + 1 :], strict=False)
        return statistics.median(start - end for end, start in pairs)

    def summary(self, images: int) -> dict[str, Any]:
        """Return the figures with units in their names."""
        return {
            "step_ms": 1e3 * self.step,
            "between_steps_ms": 1e3 * self.outside,
            "images_per_s": images / self.step,
            "phases_ms": {name: 1e3 * statistics.median(found) for name, found in self.phases.items()},
            "peak_gib": self.peak / GIB,
            "reserved_gib": self.reserved / GIB,
            "tflop": self.flop / 1e12,
            "tflop_per_s": self.flop / 1e12 / self.step,
            "waits_per_step": {place: count / WAITED for place, count in self.waits.items()},
        }

    def __call__(self, players: Any, turns: Any, passes: Any, *rest: Any, **options: Any) -> Any:
        """Do the step that is due, as its number says."""
        step = len(self.starts)
        if step == WARM_UP:
            _settle(reset=True)
        self.starts.append(time.perf_counter())
        if step < WARM_UP + TIMED:
            result = train_step(players, turns, passes, *rest, **options)
        elif step < WARM_UP + TIMED + PHASED:
            if not self.peak and torch.cuda.is_available():
                self.peak, self.reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
            with _phases(self.phases, players, turns, passes) as watched:
                result = train_step(players, turns, watched, *rest, **options)
        elif step < STEPS - 1:
            with _waits(self.waits):
                result = train_step(players, turns, passes, *rest, **options)
        else:
            with FlopCounterMode(display=False) as counted:
                result = train_step(players, turns, passes, *rest, **options)
            self.flop = counted.get_total_flops()
        self.ends.append(time.perf_counter())
        self.losses.append(result.losses)
        return result


def watch(train: Callable[[], None]) -> Watched:
    """Train with every step watched; `train` must do at least STEPS of them."""
    watched = Watched()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", watched)
        train()
    return watched


def losses_of(train: Callable[[], None]) -> list[dict[str, float]]:
    """Train; returns every step's losses."""
    found: list[dict[str, float]] = []

    def kept(*arguments: Any, **options: Any) -> Any:
        result = train_step(*arguments, **options)
        found.append(result.losses)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", kept)
        train()
    return found


def _settle(*, reset: bool = False) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        if reset:
            torch.cuda.reset_peak_memory_stats()


@contextlib.contextmanager
def _phases(found: dict[str, list[float]], players: Any, turns: Any, passes: Any) -> Iterator[Any]:
    """Time forward and backward of each turn, and each player's update, with the GPU drained before and after."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            _settle()
            began = time.perf_counter()
            result = work(*arguments)
            _settle()
            spent[name] += time.perf_counter() - began
            return result

        return run

    def watched(batch: Any, iteration: int) -> Iterator[Any]:
        made = passes(batch, iteration)
        for number, name in enumerate(turns):
            yield timed(f"{number}: forward, {name}", next)(made)
        yield from made

    with pytest.MonkeyPatch.context() as patch:
        for name, player in players.items():
            patch.setattr(player, "backward", timed(f"backward, {name}", player.backward))
            patch.setattr(player, "gradient_norm", timed(f"norm, {name}", player.gradient_norm))
            patch.setattr(player, "update", timed(f"update, {name}", player.update))
        yield watched
    for name, seconds in spent.items():
        found[name].append(seconds)


@contextlib.contextmanager
def _waits(found: Counter[str]) -> Iterator[None]:
    """Count where the host waits for the GPU."""
    if not torch.cuda.is_available():
        yield
        return
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    for warning in caught:
        if "synchronizing" in str(warning.message):
            found[f"{Path(warning.filename).name}:{warning.lineno}"] += 1
