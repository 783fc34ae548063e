"""The recorded scores of runs, and how they are put in a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cirn_dist.display.summary import Spread
from cirn_dist.display.tables import DASH
from cirn_dist.rundir.results import Results, Row, read_results

_T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
Runs = Mapping[tuple[str, int], Results]  # by experiment and seed


def records(*folders: Path) -> Runs:
    """Read every record of some folders: a run's results.json, called NAME-seedN.json."""
    found = map(read_results, sorted(file for folder in folders for file in folder.glob("*-seed*.json")))
    return {(one.name.rpartition("-seed")[0], one.seed): one for one in found}


def rows(runs: Runs, experiment: str, stage: str) -> dict[int, Row]:
    """Return a stage's row of the results by seed."""
    return {
        seed: row for (name, seed), one in runs.items() for row in one.rows if (name, row.stage) == (experiment, stage)
    }


def values(runs: Runs, experiment: str, stage: str, kind: str = "miou") -> dict[int, float]:
    """Return a stage's scores by seed, in points; `kind` is miou, adabn, control or teacher."""
    scored = rows(runs, experiment, stage)
    found = scored if kind == "miou" else {seed: getattr(row, kind) for seed, row in scored.items()}
    return {seed: 100 * one.miou for seed, one in found.items() if one is not None and one.miou is not None}


def _interval(differences: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of paired differences, and half the width of its 95 % confidence interval (Student's t)."""
    spread = Spread.of(differences)
    n = len(differences)
    return spread.mean, None if spread.std is None else _T95[n] * spread.std / n**0.5


def paired(upper: Mapping[int, float], lower: Mapping[int, float]) -> tuple[list[float], list[str]]:
    """Return the differences of the seeds that both have, and the cells of their mean and of its interval."""
    differences = [upper[seed] - lower[seed] for seed in sorted(upper.keys() & lower.keys())]
    if not differences:
        return [], [DASH, DASH]
    gain, half = _interval(differences)
    return differences, [f"{gain:+.1f}", DASH if half is None else f"{gain - half:+.1f} to {gain + half:+.1f}"]


def mean(by_seed: Mapping[int, float]) -> str:
    """Return mean ± standard deviation, or a dash."""
    if not by_seed:
        return DASH
    spread = Spread.of(list(by_seed.values()))
    return f"{spread.mean:.1f}" + ("" if spread.std is None else f" ± {spread.std:.1f}")


def scored(runs: Runs, experiment: str, stage: str) -> list[str]:
    """Return the cells of a row: mIoU with the teacher's beside it, AdaBN's and the control's; none without a score."""
    found, adabn, control, teacher = (
        mean(values(runs, experiment, stage, kind)) for kind in ("miou", "adabn", "control", "teacher")
    )
    if found == DASH:
        return []
    return [found if teacher == DASH else f"{found} (teacher {teacher})", adabn, control]


def line(cells: Iterable[str]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
