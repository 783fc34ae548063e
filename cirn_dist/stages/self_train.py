"""Stage 3, second half: finetuning on the target's pseudo labels (eq. 9)."""

from __future__ import annotations

from cirn_dist import losses
from cirn_dist.config import Adapt
from cirn_dist.data.index import ShardSet
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Losses, Pass
from cirn_dist.stages.adversary import Adversary
from cirn_dist.stages.parts import initial_segmenter, of_round, predicted, segmenter_player, stream
from cirn_dist.stages.validation import validation


def self_train(
    run: Run, intermediate: ShardSet, pseudo_labelled: ShardSet, number: int = 1, labelled: ShardSet | None = None
) -> None:
    """Train C and ACM on the pseudo labels; with `source_weight`, on the CIR's labels too (BDL).

    Args:
        number: the round; a later one goes on from the one before it, where the first goes on from stage 2.
        labelled: target images it may be scored on while it trains.
    """
    settings = run.config.self_train
    later = number > 1 and settings.init == "adapt"
    init = of_round("self_train", number - 1) if later else settings.init
    segmenter, parents = initial_segmenter(run, init, with_acm=True)
    player = segmenter_player(run, segmenter, settings)
    goes_on = init if settings.init == "adapt" else None
    adversary = Adversary(run, segmenter, _adversarial(run), goes_on) if settings.lambda_adv else None

    def learn_from_cir(batch: Batch, iteration: int) -> Losses:
        output = predicted(player, batch["source"])
        if adversary is not None:
            adversary.watch(batch, output)
        loss = losses.supervision(output, batch["source"]["label"], focal_gamma=settings.focal_gamma)
        return {"seg": settings.source_weight * loss}

    def learn_from_pseudo_labels(batch: Batch, iteration: int) -> Losses:
        output = predicted(player, batch["target"])
        labels = batch["target"]["label"]
        terms = {"pseudo": losses.supervision(output, labels, focal_gamma=settings.focal_gamma)}
        if settings.lambda_kld:
            terms["kld"] = settings.lambda_kld * losses.confidence_penalty(output, labels)
        if settings.lambda_entropy:
            terms["entropy"] = settings.lambda_entropy * losses.unlabelled_entropy(output, labels)
        if adversary is not None:
            terms |= adversary.cost(batch, output, iteration)
        return terms

    players, passes = {"segmenter": player}, [Pass("segmenter", learn_from_pseudo_labels)]
    streams = {"target": stream(run, pseudo_labelled, settings.augment, "target")}
    if settings.source_weight > 0:
        passes.insert(0, Pass("segmenter", learn_from_cir))
        streams["source"] = stream(run, intermediate, settings.augment, "source")
    if adversary is not None:
        players["discriminator"] = adversary.player
        passes.append(adversary.step_pass)
    training = Training(
        of_round("self_train", number),
        settings.iterations,
        players=players,
        passes=passes,
        streams=streams,
        parents=parents,
        validate=validation(run, of_round("self_train", number), segmenter, labelled),
    )
    fit(training, run)


def _adversarial(run: Run) -> Adapt:
    """Return stage 2's adversarial settings with stage 3's schedule."""
    same = ("iterations", "power", "warmup", "lambda_adv")
    return run.config.adapt.model_copy(update={key: getattr(run.config.self_train, key) for key in same})
