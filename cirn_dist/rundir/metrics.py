"""metrics.jsonl of each stage: where training numbers always go. Trackers may take them too (display/trackers.py)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from cirn_dist.files import replace_text

FILE_NAME = "metrics.jsonl"


def _finite(value: Any) -> Any:
    """Turn NaN and infinity into None: JSON has neither."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Loss = Annotated[float | None, BeforeValidator(_finite)]


class Metrics(BaseModel):
    """What is logged about one step: losses by name, learning rates by player, and what was observed
    beside them; a non-finite value is None. `skipped` steps since the last line updated not every player.

    `costs` is the mean of the steps since the last line, on rank 0: seconds of a step (`step_s`), of waiting for its
    data (`data_s`), and, with engine.time_reductions, of its all-reduces.
    """

    # An older reader meets the fields of a newer writer; it takes what it knows.
    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    iteration: int
    time: float
    images_per_second: float
    losses: dict[str, Loss]
    rates: dict[str, float] = {}
    observed: dict[str, Loss] = {}
    skipped: int = 0
    costs: dict[str, float] = {}


def metrics(
    step: int,
    iteration: int,
    images_per_second: float,
    losses: Mapping[str, float],
    rates: Mapping[str, float] | None = None,
    observed: Mapping[str, float] | None = None,
    skipped: int = 0,
    costs: Mapping[str, float] | None = None,
) -> Metrics:
    """Make the record of one step, stamped with the time of day in seconds."""
    return Metrics(
        step=step,
        iteration=iteration,
        time=round(time.time(), 3),
        images_per_second=images_per_second,
        losses=dict(losses),
        rates=dict(rates or {}),
        observed=dict(observed or {}),
        skipped=skipped,
        costs=dict(costs or {}),
    )


class MetricsLog:
    """Append one JSON line per logged step.

    A run that resumes at step n repeats what came after n, so those lines are dropped first; so is a last line
    that a crash left half-written.

    Args:
        path: the file, usually STAGE/metrics.jsonl; its folder is made.
        resume_at_step: the last step that is kept; 0 starts the log anew.
    """

    def __init__(self, path: Path, resume_at_step: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [record for record in read_metrics(path) if record.step <= resume_at_step]
        replace_text(path, "".join(map(_line, kept)))
        self._stream = path.open("a", encoding="utf-8")

    def write(self, metrics: Metrics) -> None:
        """Append one line and hand it to the operating system, so that a killed process loses nothing."""
        self._stream.write(_line(metrics))
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[Metrics]:
    """Read a metrics log in order; a line that is not a record (half-written, damaged) is passed over."""
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        try:
            records.append(Metrics.model_validate_json(line))
        except ValidationError:
            continue
    return records


def _line(metrics: Metrics) -> str:
    return metrics.model_dump_json() + "\n"
