"""Stage 3, second half: finetuning on the target's pseudo labels (eq. 9)."""

from __future__ import annotations

from cirn_dist import losses
from cirn_dist.data.index import ShardSet
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Losses, Pass
from cirn_dist.stages.parts import initial_segmenter, segmenter_player, stream


def self_train(run: Run, intermediate: ShardSet, pseudo_labelled: ShardSet) -> None:
    """Train C and ACM on the pseudo labels; with `source_weight`, on the CIR's labels too (BDL)."""
    settings = run.config.self_train
    segmenter, parents = initial_segmenter(run, settings, with_acm=True)
    player = segmenter_player(run, segmenter, settings)

    def learn_from_cir(batch: Batch, iteration: int) -> Losses:
        output = player("segmenter", batch["source"]["image"])
        loss = losses.supervision(output, batch["source"]["label"], focal_gamma=settings.focal_gamma)
        return {"seg": settings.source_weight * loss}

    def learn_from_pseudo_labels(batch: Batch, iteration: int) -> Losses:
        output = player("segmenter", batch["target"]["image"])
        return {"pseudo": losses.supervision(output, batch["target"]["label"], focal_gamma=settings.focal_gamma)}

    passes = [Pass("segmenter", learn_from_pseudo_labels)]
    streams = {"target": stream(run, pseudo_labelled, settings.augment, "target")}
    if settings.source_weight > 0:
        passes.insert(0, Pass("segmenter", learn_from_cir))
        streams["source"] = stream(run, intermediate, settings.augment, "source")
    fit(
        Training(
            "self_train",
            settings.iterations,
            players={"segmenter": player},
            passes=passes,
            streams=streams,
            parents=parents,
        ),
        run,
    )
