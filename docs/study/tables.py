"""The study's tables in README.md and docs/methods.md, from the runs' recorded scores beside this file.

python docs/study/tables.py writes everything between the pages' marks anew. A record is a run's results.json, called
NAME-seedN.json.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from cirn_dist.display.summary import Spread
from cirn_dist.rundir.results import Row, read_results

RECORDS = Path(__file__).parent
ROOT = RECORDS.parents[1]
MARKS = re.compile(r"(<!-- study: .* -->\n).*?(<!-- end of study -->)", re.S)
CHAIN, BDL, WITHOUT, ONLINE, BOUND = (
    f"streets_camvid_240{end}" for end in ("", "-bdl_labels", "-without_cir", "-cirn_online-online_240", "-supervised")
)
ROWS: tuple[tuple[str, str, str], ...] = (
    (CHAIN, "source", "source only"),
    (CHAIN, "cir", "CIR"),
    (WITHOUT, "adapt", "ASS, without CIR"),
    (WITHOUT, "self_train", "ASS + ST, without CIR"),
    (CHAIN, "adapt", "CIR + ASS"),
    (CHAIN, "self_train", "CIR + ASS + ST"),
    (BDL, "self_train", "CIR + ASS + ST, labels by BDL's thresholds"),
    (ONLINE, "self_train", "CIR + ASS + online ST"),
    (BOUND, "source", "supervised on CamVid's train"),
)
# (what, of which row, less which row); rows are (experiment, stage), a control's or AdaBN's score is named after it
GAINS: tuple[tuple[str, tuple[str, str, str], tuple[str, str, str]], ...] = (
    ("CIR over source only", (CHAIN, "cir", "miou"), (CHAIN, "source", "miou")),
    ("CIR over its control", (CHAIN, "cir", "miou"), (CHAIN, "cir", "control")),
    ("CIR over source only with AdaBN", (CHAIN, "cir", "miou"), (CHAIN, "source", "adabn")),
    ("ASS over CIR", (CHAIN, "adapt", "miou"), (CHAIN, "cir", "miou")),
    ("ASS over its control", (CHAIN, "adapt", "miou"), (CHAIN, "adapt", "control")),
    ("ASS with the CIR over ASS without", (CHAIN, "adapt", "miou"), (WITHOUT, "adapt", "miou")),
    ("ST over CIR + ASS", (CHAIN, "self_train", "miou"), (CHAIN, "adapt", "miou")),
    ("ST over its control", (CHAIN, "self_train", "miou"), (CHAIN, "self_train", "control")),
    ("ST over ST by BDL's thresholds", (CHAIN, "self_train", "miou"), (BDL, "self_train", "miou")),
    ("online ST over its control", (ONLINE, "self_train", "miou"), (ONLINE, "self_train", "control")),
    ("online ST over ST", (ONLINE, "self_train", "miou"), (CHAIN, "self_train", "miou")),
    ("the whole chain over source only", (CHAIN, "self_train", "miou"), (CHAIN, "source", "miou")),
    ("the whole chain over source only with AdaBN", (CHAIN, "self_train", "miou"), (CHAIN, "source", "adabn")),
)
_T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
Rows = Mapping[tuple[str, int], Mapping[str, Row]]  # (experiment, seed) -> stage -> its scores


def records(folder: Path) -> Rows:
    """Read every record of a folder."""
    found = {}
    for file in sorted(folder.glob("*-seed*.json")):
        results = read_results(file)
        found[results.name.rpartition("-seed")[0], results.seed] = {row.stage: row for row in results.rows}
    return found


def values(runs: Rows, experiment: str, stage: str, kind: str) -> dict[int, float]:
    """Return a stage's scores by seed, in points; `kind` is miou, adabn, control or teacher."""
    scored = {seed: rows[stage] for (name, seed), rows in runs.items() if name == experiment and stage in rows}
    found = scored if kind == "miou" else {seed: getattr(row, kind) for seed, row in scored.items()}
    return {seed: 100 * one.miou for seed, one in found.items() if one is not None and one.miou is not None}


def interval(differences: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of paired differences, and half the width of its 95 % confidence interval (Student's t)."""
    spread = Spread.of(differences)
    n = len(differences)
    return spread.mean, None if spread.std is None else _T95[n] * spread.std / n**0.5


def scores(runs: Rows) -> str:
    """Return the rows' scores, and the differences that matter, as Markdown."""
    return "\n".join([*_scores(runs), "", *_gains(runs)]) + "\n"


def classes(runs: Rows) -> str:
    """Return the rows' scores by class."""
    return "\n".join(_classes(runs)) + "\n"


PAGES: dict[Path, Callable[[Rows], str]] = {ROOT / "README.md": scores, ROOT / "docs/methods.md": classes}


def written(page: Path, runs: Rows) -> str:
    """Return a page's text with its tables as the records have them."""
    text = page.read_text(encoding="utf-8")
    return MARKS.sub(lambda found: found[1] + PAGES[page](runs) + found[2], text)


def _scores(runs: Rows) -> Iterator[str]:
    yield "| row | mIoU | with AdaBN | control, trained as long | seeds |"
    yield "|---|---|---|---|---|"
    for experiment, stage, title in ROWS:
        found = values(runs, experiment, stage, "miou")
        if found:
            beside = [_mean(values(runs, experiment, stage, kind)) for kind in ("adabn", "control")]
            teacher = values(runs, experiment, stage, "teacher")
            told = _mean(found) + (f" (teacher {_mean(teacher)})" if teacher else "")
            yield f"| {title} | {told} | {' | '.join(beside)} | {', '.join(map(str, sorted(found)))} |"


def _gains(runs: Rows) -> Iterator[str]:
    yield "| paired by seed | points | 95 % interval | higher in |"
    yield "|---|---|---|---|"
    for what, of, less in GAINS:
        upper, lower = values(runs, *of), values(runs, *less)
        differences = [upper[seed] - lower[seed] for seed in sorted(upper.keys() & lower.keys())]
        if differences:
            mean, half = interval(differences)
            around = "–" if half is None else f"{mean - half:+.1f} to {mean + half:+.1f}"
            gained = sum(difference > 0 for difference in differences)
            yield f"| {what} | {mean:+.1f} | {around} | {gained} of {len(differences)} |"


def _classes(runs: Rows) -> Iterator[str]:
    columns = [
        (title, experiment, stage) for experiment, stage, title in ROWS if values(runs, experiment, stage, "miou")
    ]
    names = read_results(next(RECORDS.glob("*-seed*.json"))).classes
    yield f"| IoU, means | {' | '.join(title for title, *_ in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for at, name in enumerate(names):
        cells = []
        for _, experiment, stage in columns:
            every = [rows[stage].iou[at] for (known, _), rows in runs.items() if known == experiment and stage in rows]
            cells.append(f"{100 * sum(value or 0.0 for value in every) / len(every):.1f}")
        yield f"| {name} | {' | '.join(cells)} |"


def _mean(by_seed: Mapping[int, float]) -> str:
    if not by_seed:
        return "–"
    spread = Spread.of(list(by_seed.values()))
    return f"{spread.mean:.1f}" + ("" if spread.std is None else f" ± {spread.std:.1f}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for one in PAGES:
        one.write_text(written(one, records(RECORDS)), encoding="utf-8")
