"""Supervised training on a labelled domain: the source-only row, the frozen net of L_sem, and the CIR row.

On the source domain this is the paper's "SO": DeepLab-v2 with one classifier. On the CIR it is Table 4's "CIR" row,
which is also the control of stage 2: the same images for as long, without adaptation.
"""

from __future__ import annotations

from collections.abc import Iterator

from cirn_dist import losses
from cirn_dist.config.groups.training import SegmenterTraining
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.loop import Training
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Pass
from cirn_dist.stages.evaluate.validation import validation
from cirn_dist.stages.segmenter import initial_segmenter, predicted, segmenter_player, stream


def supervised(
    run: Run, name: str, images: ShardSet, settings: SegmenterTraining, labelled: ShardSet | None = None
) -> Training:
    """Return the training of a plain segmenter on one labelled domain (eq. 6 with C alone).

    Args:
        labelled: target images it may be scored on while it trains.
    """
    segmenter, parents = initial_segmenter(run, settings.init, with_acm=False)
    player = segmenter_player(run, segmenter, settings)

    def step(batch: Batch, iteration: int) -> Iterator[Pass]:
        output = predicted(player, batch["source"])
        yield Pass({"seg": losses.supervision(output, batch["source"]["label"], focal_gamma=settings.focal_gamma)})

    return Training(
        name,
        settings.iterations,
        players={"segmenter": player},
        turns=("segmenter",),
        passes=step,
        streams={"source": stream(run, images, settings.augment, "source")},
        parents=parents,
        validate=validation(run, name, segmenter, labelled),
    )
