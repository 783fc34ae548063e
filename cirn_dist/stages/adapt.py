"""Stage 2, adaptive semantic segmentation: from the CIR (I) to the target (T) with C, ACM and D (eqs. 6 to 8)."""

from __future__ import annotations

from cirn_dist import losses
from cirn_dist.config import Adapt
from cirn_dist.data.index import ShardSet
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Losses, Pass
from cirn_dist.stages.adversary import Adversary
from cirn_dist.stages.parts import initial_segmenter, predicted, segmenter_player, stream
from cirn_dist.stages.validation import validation


def adapt(
    run: Run,
    name: str,
    intermediate: ShardSet,
    target: ShardSet,
    settings: Adapt,
    labelled: ShardSet | None = None,
) -> None:
    """Train the segmenter against D: supervised on I, adversarially on T; the total is eq. 8.

    Args:
        labelled: target images it may be scored on while it trains.
    """
    segmenter, parents = initial_segmenter(run, settings.init, with_acm=True, acm_start=settings.acm_start)
    player = segmenter_player(run, segmenter, settings)
    adversary = Adversary(run, segmenter, settings)

    def learn_from_cir(batch: Batch, iteration: int) -> Losses:  # eq. 6
        output = predicted(player, batch["source"])
        adversary.watch(batch, output)
        seg = losses.supervision(output, batch["source"]["label"], on=settings.seg_on, focal_gamma=settings.focal_gamma)
        return {"seg": seg}

    def fool_discriminator(batch: Batch, iteration: int) -> Losses:  # eq. 7, the segmenter's part
        output = predicted(player, batch["target"])
        return adversary.cost(batch, output, iteration)

    training = Training(
        name,
        settings.iterations,
        players={"segmenter": player, "discriminator": adversary.player},
        passes=[Pass("segmenter", learn_from_cir), Pass("segmenter", fool_discriminator), adversary.step_pass],
        streams={
            "source": stream(run, intermediate, settings.augment, "source"),
            "target": stream(run, target, settings.augment, "target"),
        },
        parents=parents,
        validate=validation(run, name, segmenter, labelled),
    )
    fit(training, run)
