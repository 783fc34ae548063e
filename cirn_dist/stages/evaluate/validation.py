"""Scores on labelled target images while a stage trains: the curve, and the best weights beside the last.

Choosing weights by target labels is not unsupervised; the last score is the result, the best one is for comparison
with publications that report it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.engine.saving import Validated
from cirn_dist.files import replace_text
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.norm import average_running_stats
from cirn_dist.rundir.results import CURVE_NAME, Best, Curve, Scores, read_curve
from cirn_dist.stages.evaluate.miou import evaluate


def validation(
    run: Run, stage: str, segmenter: Segmenter, labelled: ShardSet | None
) -> Callable[[int], Validated] | None:
    """Return what scores the segmenter at an iteration of its training, or None where that is not asked for."""
    if labelled is None or not run.config.evaluate.every:
        return None

    def score(iteration: int) -> Validated:
        # A copy: neither the norm layers' statistics nor the training mode of what is being trained may change.
        snapshot = copy.deepcopy(segmenter).float()
        average_running_stats(snapshot)
        found = evaluate(run, snapshot, labelled)
        return Validated(found.miou, run.runtime.on_main(lambda: _keep(run, stage, iteration, found)))

    return score


def best_score(run: Run, stage: str) -> Best | None:
    """Return the best of a stage's scores, the earliest of equals; None where there is none."""
    points = run.runtime.on_main(lambda: read_curve(run.stage_folder(stage)).points)
    known = {iteration: found for iteration, found in points.items() if found.miou is not None}
    if not known:
        return None
    iteration = max(known, key=lambda at: (known[at].miou or 0.0, -at))
    return Best(iteration=iteration, of=len(known), **dict(known[iteration]))


def _keep(run: Run, stage: str, iteration: int, found: Scores) -> bool:
    """Add a point to the curve; returns whether it is the highest. Points of a lost future are dropped."""
    before = {at: scores for at, scores in read_curve(run.stage_folder(stage)).points.items() if at < iteration}
    curve = Curve(points=before | {iteration: found})
    replace_text(run.stage_folder(stage) / CURVE_NAME, curve.model_dump_json(indent=1))
    return all((found.miou or 0.0) > (scores.miou or 0.0) for scores in before.values())
