"""Scores on labelled target images while a stage trains: the curve, and the best weights beside the last.

Choosing weights by target labels is not unsupervised; the last score is the result, the best one is for comparison
with publications that report it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from cirn_dist.checkpoint.store import Store
from cirn_dist.data.index import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.norm import average_running_stats
from cirn_dist.report.results import CURVE_NAME, Best, Curve, Scores, read_curve, replace_text
from cirn_dist.stages.evaluate import evaluate


def validation(run: Run, stage: str, segmenter: Segmenter, labelled: ShardSet | None) -> Callable[[int], None] | None:
    """Return what scores the segmenter at an iteration of its training, or None where that is not asked for."""
    if labelled is None or not run.config.evaluate.every:
        return None

    def score(iteration: int) -> None:
        # A copy: neither the norm layers' statistics nor the training mode of what is being trained may change.
        snapshot = copy.deepcopy(segmenter).float()
        average_running_stats(snapshot)
        found = evaluate(run, snapshot, labelled)
        run.runtime.on_main(lambda: _keep(run, stage, iteration, found, snapshot))

    return score


def best_score(run: Run, stage: str) -> Best | None:
    """Return the best of a stage's scores, the earliest of equals; None where there is none."""
    points = run.runtime.on_main(lambda: read_curve(run.stage_folder(stage)).points)
    known = {iteration: found for iteration, found in points.items() if found.miou is not None}
    if not known:
        return None
    iteration = max(known, key=lambda at: (known[at].miou or 0.0, -at))
    return Best(iteration=iteration, of=len(known), **dict(known[iteration]))


def _keep(run: Run, stage: str, iteration: int, found: Scores, snapshot: Segmenter) -> None:
    """Add a point to the curve, and keep the weights if it is the highest; points of a lost future are dropped."""
    before = {at: scores for at, scores in read_curve(run.stage_folder(stage)).points.items() if at < iteration}
    curve = Curve(points=before | {iteration: found})
    if all((found.miou or 0.0) > (scores.miou or 0.0) for scores in before.values()):
        state = {"stage": stage, "iteration": iteration, "miou": found.miou, "label_space": run.labels.name}
        Store(run.stage_folder(stage) / "best").save(iteration, {"segmenter": snapshot.state_dict()}, state)
    replace_text(run.stage_folder(stage) / CURVE_NAME, curve.model_dump_json(indent=1))
