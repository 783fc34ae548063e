"""Every method from one source network, with as many images: at 160x120 with time and memory, and at 240x180."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from records import Runs, line, paired, scored, values

from cirn_dist.display.tables import DASH

STEPS = Path(__file__).parent / "methods/steps.json"
NAME = "streets_camvid_imagenet-{}"


def _row(method: str, stage: str, title: str = "{}", preset: str = "streets_short") -> tuple[str, str, str]:
    return title.format(f"`{method}`"), NAME.format(f"{method}-{preset}"), stage


CHAIN = NAME.format("streets_short_cirn")
# (what, experiment, stage)
ROWS: tuple[tuple[str, str, str], ...] = (
    ("source only", CHAIN, "source"),
    _row("minent", "adapt"),
    _row("minent_multi", "adapt"),
    _row("maxsquare", "adapt"),
    _row("maxsquare_iw", "adapt"),
    _row("adaptsegnet", "adapt"),
    _row("adaptsegnet_ls", "adapt"),
    _row("adaptsegnet_multi", "adapt"),
    _row("advent", "adapt"),
    _row("advent_multi", "adapt"),
    _row("intrada", "self_train"),
    _row("clan", "adapt"),
    _row("fda", "cir", "{}: training on its images"),
    _row("fda", "adapt", "{}: and the robust entropy"),
    _row("fda_online", "adapt", preset="streets_short_fda"),
    _row("cbst", "self_train", "{}, one round"),
    _row("crst_lrent", "self_train", "{}, one round"),
    _row("crst_mrkld", "self_train", "{}, one round"),
    _row("dacs", "self_train"),
    _row("mic", "self_train"),
    _row("daformer", "self_train", "{}, on this network", "streets_short_daformer"),
    ("CIRN: CIR", CHAIN, "cir"),
    ("CIRN: CIR + ASS", CHAIN, "adapt"),
    ("CIRN: CIR + ASS + ST, BDL's labels", CHAIN, "self_train"),
    _row("cirn_online", "self_train", "{}: CIR + ASS + online ST", "streets_short_cirn"),
)


def scores(runs: Runs) -> Iterator[str]:
    """Yield a row for each method: scores over seeds, and a step's time and memory where they were measured."""
    steps: Mapping[str, Mapping[str, Any]] = json.loads(STEPS.read_text(encoding="utf-8"))
    yield "| method | mIoU | with AdaBN | control | time of a step, of training on the source = 1 | MiB of a step |"
    yield "|---|---|---|---|---|---|"
    for title, experiment, stage in ROWS:
        if cells := scored(runs, experiment, stage):
            step = steps.get(f"{experiment} {stage}")
            cost = [DASH, DASH] if step is None else [f"{step['ratio']:.1f}", f"{step['mib']:.0f}"]
            yield line([title, *cells, *cost])


CHAIN_240, BUDGET_240 = "streets_camvid_240", "-streets_240"


def _row_240(method: str, stage: str, preset: str = BUDGET_240) -> tuple[str, str, str]:
    return f"`{method}`", f"{CHAIN_240}-{method}{preset}", stage


ROWS_240: tuple[tuple[str, str, str], ...] = (
    ("source only", f"{CHAIN_240}-dacs{BUDGET_240}", "source"),
    _row_240("minent", "adapt"),
    _row_240("maxsquare_iw", "adapt"),
    _row_240("adaptsegnet", "adapt"),
    _row_240("advent", "adapt"),
    _row_240("clan", "adapt"),
    _row_240("fda_online", "adapt", f"{BUDGET_240}_fda"),
    _row_240("dacs", "self_train"),
    _row_240("mic", "self_train"),
    ("CIRN: CIR", CHAIN_240, "cir"),
    ("CIRN: CIR + ASS", CHAIN_240, "adapt"),
    ("CIRN: CIR + ASS + ST", CHAIN_240, "self_train"),
)


def scores_240(runs: Runs) -> Iterator[str]:
    """Yield a row for each method over the seeds that the methods have, with what it gains over the source network."""
    seeds = {seed for name, seed in runs if BUDGET_240 in name}
    shown = {key: one for key, one in runs.items() if key[1] in seeds}
    yield "| method | mIoU | with AdaBN | control, trained as long | over source only, paired | 95 % interval | seeds |"
    yield "|---|---|---|---|---|---|---|"
    for title, experiment, stage in ROWS_240:
        if not (cells := scored(shown, experiment, stage)):
            continue
        reached = values(shown, experiment, stage)
        # Each by its own run's source network: another processor's rounding trains another one.
        gained = [DASH, DASH] if stage == "source" else paired(reached, values(shown, experiment, "source"))[1]
        yield line([title, *cells, *gained, ", ".join(map(str, sorted(reached)))])
