"""The numbers of the steps since the last logged line."""

from __future__ import annotations

import time
from collections.abc import Mapping

from cirn_dist.engine.run import Run
from cirn_dist.engine.step import StepResult
from cirn_dist.errors import TrainingError
from cirn_dist.rundir.metrics import MetricsLog, metrics


def passed_multiple_of(step: int, every: int, images_per_step: int) -> bool:
    """Whether a multiple of `every` iterations was passed in the step that just ended; never where it is 0."""
    return every > 0 and step * images_per_step // every > (step - 1) * images_per_step // every


class Meter:
    """Averages losses for the display and metrics.jsonl, and counts skipped steps; a context manager.

    Args:
        stage: the folder the log is in.
        first_step: lines after it are dropped from an existing log, since they will be written again.
    """

    def __init__(self, run: Run, stage: str, first_step: int) -> None:
        self.run, self.stage = run, stage
        self.log = MetricsLog(run.stage_folder(stage) / "metrics.jsonl", first_step) if run.runtime.main else None
        run.trackers.start(stage, first_step * run.config.engine.images_per_step)
        self.skipped_in_a_row = 0
        self._clear()
        self.begin()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.run.trackers.finish()
        if self.run.runtime.traffic is not None:
            self.run.runtime.traffic.end()
        if self.log is not None:
            self.log.close()

    def _clear(self) -> None:
        self.sums: dict[str, float] = {}
        self.observed: dict[str, float] = {}
        self.costs: dict[str, float] = {}
        self.steps = self.skipped = 0
        self.since = time.perf_counter()

    def begin(self) -> None:
        """Note that a step begins."""
        self.began = time.perf_counter()

    def add(self, step: int, result: StepResult, rates: Mapping[str, float], waited: float) -> None:
        """Take the result of the step that just ended, the `step`-th counted from 1.

        Args:
            waited: seconds of it that were spent waiting for images.

        Raises:
            TrainingError: too many skipped steps in a row.
        """
        engine = self.run.config.engine
        iteration = step * engine.images_per_step
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if result.skipped else 0
        if self.skipped_in_a_row >= engine.max_nonfinite:
            error = TrainingError(
                f"loss or gradients of {', '.join(result.skipped)} were not finite in {self.skipped_in_a_row} steps "
                "in a row",
                where=f"{self.stage}, iteration {iteration}",
                fix="lower the learning rate, set clip_norm, or use engine.precision=fp32",
            )
            raise error.on_all_ranks()
        self.steps += 1
        costs = {"step_s": time.perf_counter() - self.began, "data_s": waited}
        if self.run.runtime.traffic is not None:
            costs |= self.run.runtime.traffic.take()
        for name, value in costs.items():
            self.costs[name] = self.costs.get(name, 0.0) + value
        if result.skipped:  # its losses would make the mean of all steps infinite
            self.skipped += 1
        else:
            for sums, values in ((self.sums, result.losses), (self.observed, result.observed)):
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
        if not passed_multiple_of(step, engine.log_every, engine.images_per_step):
            return
        counted = self.steps - self.skipped
        means, observed = (
            {name: value / counted for name, value in sums.items()} for sums in (self.sums, self.observed)
        )
        costs = {name: value / self.steps for name, value in self.costs.items()}
        speed = self.steps * engine.images_per_step / (time.perf_counter() - self.since)
        self.run.progress.update(iteration, means, speed)
        line = metrics(step, iteration, speed, means, rates, observed, self.skipped, costs)
        self.run.trackers.write(line)
        if self.log is not None:
            self.log.write(line)
        self._clear()
