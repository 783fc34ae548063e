"""The chain at 240x180: its rows, what each step gains, and its classes."""

from __future__ import annotations

from collections.abc import Iterator

from records import Runs, interval, line, rows, scored, values

from cirn_dist.display.tables import DASH

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
        upper, lower = values(runs, *of), values(runs, *less)
        differences = [upper[seed] - lower[seed] for seed in sorted(upper.keys() & lower.keys())]
        if differences:
            gain, half = interval(differences)
            around = DASH if half is None else f"{gain - half:+.1f} to {gain + half:+.1f}"
            gained = sum(difference > 0 for difference in differences)
            yield line([what, f"{gain:+.1f}", around, f"{gained} of {len(differences)}"])


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
