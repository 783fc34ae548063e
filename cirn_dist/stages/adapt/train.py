"""Stage 2, adaptive semantic segmentation: from the CIR (I) to the target (T) with C, ACM and D (eqs. 6 to 8)."""

from __future__ import annotations

from collections.abc import Iterator

from cirn_dist.config.groups.adapt import Adapt
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.loop import Training
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Pass
from cirn_dist.stages.adapt.adversary import Adversary, Shown, detached
from cirn_dist.stages.adapt.diagnostics import classifiers
from cirn_dist.stages.adapt.restyle import restyled
from cirn_dist.stages.adapt.terms import source_terms, target_terms, weights_apart
from cirn_dist.stages.evaluate.validation import validation
from cirn_dist.stages.segmenter import add_auxiliary, initial_segmenter, predicted, segmenter_player, stream


def adaptation(
    run: Run,
    name: str,
    intermediate: ShardSet,
    target: ShardSet,
    settings: Adapt,
    labelled: ShardSet | None = None,
) -> Training:
    """Return the training of the segmenter against D: supervised on I, adversarially on T; the total is eq. 8.

    Without D (`lambda_adv` 0) it is that of methods which have other terms on T.

    Args:
        labelled: target images it may be scored on while it trains.
    """
    segmenter, parents = initial_segmenter(
        run, settings.init, with_acm=run.config.model.with_acm, acm_start=settings.acm_start
    )
    if settings.auxiliary.used:
        add_auxiliary(run, segmenter, goes_on="adapt" if settings.init == "adapt" else None)
    player = segmenter_player(run, segmenter, settings)
    adversary = Adversary(run, segmenter, settings) if settings.lambda_adv else None

    def step(batch: Batch, iteration: int) -> Iterator[Pass]:
        p_i: Shown | None = None

        # C and ACM on I (eq. 6).
        on_i = predicted(player, restyled(batch, settings.fda))
        terms = source_terms(on_i, batch["source"]["label"], settings)
        if adversary is not None:
            p_i = detached(adversary.shown(on_i))
        del on_i
        yield Pass(terms)

        # C and ACM on T, to fool D (eq. 7), or for what other methods ask of a prediction.
        on_t = predicted(player, batch["target"])
        terms = weights_apart(segmenter, settings, iteration) | target_terms(on_t, settings, iteration)
        if p_i is None or adversary is None:
            yield Pass(terms, observe=lambda: classifiers(segmenter, on_t))
            return
        p_t, weights = adversary.shown(on_t), adversary.weights(on_t, iteration)
        yield Pass(adversary.segmenter_terms(p_t, weights, iteration) | terms)

        # D on what was predicted on both, before the update (eq. 7).
        yield adversary.discriminator_pass(p_i, p_t, weights, on_t)

    return Training(
        name,
        settings.iterations,
        players={"segmenter": player} | ({} if adversary is None else {"discriminator": adversary.player}),
        turns=("segmenter", "segmenter", *(() if adversary is None else ("discriminator",))),
        passes=step,
        streams={
            "source": stream(run, intermediate, settings.augment, "source"),
            "target": stream(run, target, settings.augment, "target"),
        },
        parents=parents,
        validate=validation(run, name, segmenter, labelled),
    )
