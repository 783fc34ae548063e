"""Stage 3, second half: finetuning on the target's pseudo labels (eq. 9)."""

from __future__ import annotations

from collections.abc import Iterator

from cirn_dist import losses
from cirn_dist.chain import stage_in_round
from cirn_dist.config.groups.adapt import Adapt, Auxiliary
from cirn_dist.data.shards.shardset import SOFT, ShardSet
from cirn_dist.engine.loop import Training
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Pass
from cirn_dist.stages.adapt.adversary import Adversary, Shown, detached
from cirn_dist.stages.adapt.terms import weights_apart
from cirn_dist.stages.evaluate.validation import validation
from cirn_dist.stages.segmenter import initial_segmenter, predicted, segmenter_player, stream


def self_training(
    run: Run, intermediate: ShardSet, pseudo_labelled: ShardSet, number: int = 1, labelled: ShardSet | None = None
) -> Training:
    """Return the training of C and ACM on the pseudo labels; with `source_weight`, on the CIR's labels too (BDL).

    Args:
        number: the round; a later one goes on from the one before it, where the first goes on from stage 2.
        labelled: target images it may be scored on while it trains.
    """
    settings = run.config.self_train
    later = number > 1 and settings.init == "adapt"
    init = stage_in_round("self_train", number - 1) if later else settings.init
    segmenter, parents = initial_segmenter(run, init, with_acm=run.config.model.with_acm)
    player = segmenter_player(run, segmenter, settings)
    goes_on = init if settings.init == "adapt" else None
    adversary = Adversary(run, segmenter, _adversarial(run), goes_on) if settings.lambda_adv else None
    soft = SOFT in pseudo_labelled.fields  # CRST's LRENT

    turns, players = ["segmenter"], {"segmenter": player}
    streams = {"target": stream(run, pseudo_labelled, settings.augment, "target")}
    if settings.source_weight > 0:
        turns.insert(0, "segmenter")
        streams["source"] = stream(run, intermediate, settings.augment, "source")
    if adversary is not None:
        turns.append("discriminator")
        players["discriminator"] = adversary.player

    def step(batch: Batch, iteration: int) -> Iterator[Pass]:
        p_i: Shown | None = None

        # C and ACM on I and its own labels (BDL).
        if settings.source_weight > 0:
            on_i = predicted(player, batch["source"])
            seg = losses.supervision(on_i, batch["source"]["label"], focal_gamma=settings.focal_gamma)
            if adversary is not None:
                p_i = detached(adversary.shown(on_i))
            del on_i
            yield Pass({"seg": settings.source_weight * seg})

        # C and ACM on T and its pseudo labels (eq. 9).
        on_t, labels = predicted(player, batch["target"]), batch["target"]["label"]
        if soft:
            terms = {"pseudo": losses.soft_supervision(on_t, labels, batch["target"]["soft"])}
        else:
            terms = {"pseudo": losses.supervision(on_t, labels, focal_gamma=settings.focal_gamma)}
        if settings.lambda_kld:
            terms["kld"] = settings.lambda_kld * losses.confidence_penalty(on_t, labels)
        if settings.lambda_entropy:
            terms["entropy"] = settings.lambda_entropy * losses.unlabelled_entropy(on_t, labels)
        if adversary is None:
            yield Pass(terms)
            return

        # Stage 2's adversarial term, kept on, and D.
        assert p_i is not None, "lambda_adv needs source_weight, as the configuration's schema says"
        p_t, weights = adversary.shown(on_t), adversary.weights(on_t, iteration)
        apart = weights_apart(segmenter, adversary.settings, iteration)
        yield Pass(terms | adversary.segmenter_terms(p_t, weights, iteration) | apart)
        yield adversary.discriminator_pass(p_i, p_t, weights, on_t)

    return Training(
        stage_in_round("self_train", number),
        settings.iterations,
        players=players,
        turns=turns,
        passes=step,
        streams=streams,
        parents=parents,
        validate=validation(run, stage_in_round("self_train", number), segmenter, labelled),
    )


def _adversarial(run: Run) -> Adapt:
    """Return stage 2's adversarial settings with stage 3's schedule."""
    same = ("iterations", "decay_over", "power", "warmup", "lambda_adv")
    changed = {key: getattr(run.config.self_train, key) for key in same}
    return run.config.adapt.model_copy(update=changed | {"auxiliary": Auxiliary()})
