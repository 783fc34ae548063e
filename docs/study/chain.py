"""The chain at 240x180: its rows, what each step gains, and its classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from records import Runs, line, paired, rows, scored, values

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
GAP = (
    (CHAIN, "source", "adabn", "AdaBN on the source network"),
    (CHAIN, "cir", "miou", "CIR"),
    (CHAIN, "adapt", "miou", "CIR + ASS"),
    (CHAIN, "self_train", "miou", "CIR + ASS + ST"),
    (CHAIN, "self_train", "adabn", "CIR + ASS + ST with AdaBN"),
)


def scores(runs: Runs) -> Iterator[str]:
    """Yield the rows' scores, and the differences that matter."""
    yield "| row | mIoU | with AdaBN | control, trained as long | seeds |"
    yield "|---|---|---|---|---|"
    for experiment, stage, title in ROWS:
        if cells := scored(runs, experiment, stage):
            yield line([title, *cells, ", ".join(map(str, sorted(rows(runs, experiment, stage))))])
    yield ""
    yield "| paired by seed | points | 95 % interval | higher in |"
    yield "|---|---|---|---|"
    for what, of, less in GAINS:
        differences, cells = paired(values(runs, *of), values(runs, *less))
        if differences:
            gained = sum(difference > 0 for difference in differences)
            yield line([what, *cells, f"{gained} of {len(differences)}"])


FENCE = "fence"  # of val, whose drive the supervised network has seen: it alone knows this one


def gap(runs: Runs) -> Iterator[str]:
    """Yield how far each row goes from the source network to the supervised one, of the means over seeds."""
    names = next(iter(runs.values())).classes
    ways = {"all classes": names, f"the {len(names) - 1} but {FENCE}": [name for name in names if name != FENCE]}
    yield line(["of the gap to the supervised network, closed by", *ways])
    yield f"|---|{'---|' * len(ways)}"
    for experiment, stage, kind, title in GAP:
        cells = []
        for kept in ways.values():
            of = [names.index(name) for name in kept]
            low, high, reached = (
                _over_classes(runs, *which, of)
                for which in ((CHAIN, "source", "miou"), (BOUND, "source", "miou"), (experiment, stage, kind))
            )
            if low is None or high is None or reached is None:
                return
            cells.append(f"{100 * (reached - low) / (high - low):.0f} % of {high - low:.1f} points")
        yield line([title, *cells])


def _over_classes(runs: Runs, experiment: str, stage: str, kind: str, of: Sequence[int]) -> float | None:
    """Return the mean IoU of some classes, in points, over seeds; None where there is none."""
    found = rows(runs, experiment, stage).values()
    scores = [row if kind == "miou" else row.adabn for row in found]
    every = [100 * sum(one.iou[at] or 0.0 for at in of) / len(of) for one in scores if one is not None]
    return sum(every) / len(every) if every else None


def classes(runs: Runs) -> Iterator[str]:
    """Yield the rows' scores by class, means over the seeds."""
    columns = [(title, experiment, stage) for experiment, stage, title in ROWS if values(runs, experiment, stage)]
    yield line(["IoU, means", *(title for title, *_ in columns)])
    yield f"|---|{'---|' * len(columns)}"
    for at, name in enumerate(next(iter(runs.values())).classes):
        cells = []
        for _, experiment, stage in columns:
            every = [row.iou[at] for row in rows(runs, experiment, stage).values()]
            cells.append(f"{100 * sum(value or 0.0 for value in every) / len(every):.1f}")
        yield line([name, *cells])
