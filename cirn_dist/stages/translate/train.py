"""Stage 1, constructing the Content Invariant Representation: CycleGAN with semantic consistency (eqs. 1 to 5).

`generator_s2t` is the paper's G: S -> T, `generator_t2s` its F: T -> S; `discriminator_t` its D_T, `discriminator_s`
its D_S.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from cirn_dist import losses
from cirn_dist.config.groups.translate import Translate
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.loop import Training
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Losses, Pass
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.stages.segmenter import stream
from cirn_dist.stages.translate.alarms import CollapseMonitor, Translations
from cirn_dist.stages.translate.colours import TargetColours
from cirn_dist.stages.translate.players import Pools, gan_players

# (component, images) -> images or logits
Call = Callable[[str, Tensor], Tensor]


def translation(
    run: Run, source: ShardSet, target: ShardSet, pretrained: Segmenter, parents: dict[str, str]
) -> Training:
    """Return the training of both generators and both discriminators.

    Args:
        pretrained: the net of L_sem, frozen; `parents` is where it is from.
    """
    settings = run.config.translate
    players = gan_players(run)
    generators, discriminators = players["generators"], players["discriminators"]
    pretrained.to(run.runtime.dtype)
    colours = TargetColours.measure(run, target) if settings.colour_match else None
    pools, monitor = Pools(run), CollapseMonitor(run)

    def judge(component: str, images: Tensor) -> Tensor:
        logits: Tensor = discriminators.raw(component)(images)  # frozen in the generators' pass
        return logits

    def step(batch: Batch, iteration: int) -> Iterator[Pass]:
        # G and F, there and back again (eqs. 1 to 4).
        x_s, x_t = batch["source"]["image"], batch["target"]["image"]
        if colours is not None:
            x_s = colours.give(x_s, batch["source"]["k"])
        made, terms = generator_losses(generators, judge, x_s, x_t, settings)
        if settings.lambda_sem > 0:
            terms["semantic"] = settings.lambda_sem * semantic_loss(pretrained, batch["source"], made.fake_t, settings)
        yield Pass(terms, observe=lambda: monitor.observe(batch["source"]["k"], made))

        # D_T and D_S, on real images and on translations of their domain, some of them earlier ones (eqs. 1 and 2).
        shown_t = pools.exchange("target", made.fake_t.detach(), batch["target"]["k"].tolist())
        shown_s = pools.exchange("source", made.fake_s.detach(), batch["source"]["k"].tolist())
        yield Pass(
            {
                "discriminator_t": discriminator_loss(discriminators, "discriminator_t", x_t, shown_t, settings),
                "discriminator_s": discriminator_loss(discriminators, "discriminator_s", x_s, shown_s, settings),
            }
        )

    return Training(
        "translate",
        settings.iterations,
        players=players,
        turns=("generators", "discriminators"),
        passes=step,
        streams={
            "source": stream(run, source, settings.augment, "source", width=settings.load_width),
            "target": stream(run, target, settings.augment, "target", width=settings.load_width),
        },
        memory={"memory": pools, "monitor": monitor},
        parents=parents,
    )


def generator_losses(
    generators: Call, discriminators: Call, x_s: Tensor, x_t: Tensor, settings: Translate
) -> tuple[Translations, Losses]:
    """Return what G and F make of both domains' images, and what they pay for it (eqs. 1 to 3).

    They pay for not fooling D_T and D_S, and for not coming back to where they started.
    """
    fake_t, fake_s = generators("generator_s2t", x_s), generators("generator_t2s", x_t)
    back_s, back_t = generators("generator_t2s", fake_t), generators("generator_s2t", fake_s)
    terms = {
        "gan_s2t": losses.gan(discriminators("discriminator_t", fake_t), True, settings.gan),
        "gan_t2s": losses.gan(discriminators("discriminator_s", fake_s), True, settings.gan),
        "cycle_s": settings.lambda_cyc * losses.cycle(back_s, x_s),
        "cycle_t": settings.lambda_cyc * losses.cycle(back_t, x_t),
    }
    if settings.lambda_identity > 0:  # CycleGAN's own option: an image that is already there should stay
        terms["identity_s"] = settings.lambda_identity * losses.cycle(generators("generator_t2s", x_s), x_s)
        terms["identity_t"] = settings.lambda_identity * losses.cycle(generators("generator_s2t", x_t), x_t)
    return Translations(x_s, x_t, fake_t, fake_s, back_s.detach(), back_t.detach()), terms


def semantic_loss(pretrained: nn.Module, source: Batch, fake_t: Tensor, settings: Translate) -> Tensor:
    """Return L_sem (eq. 4) of the translated source images, by the frozen net of the source stage.

    Its parameters get no gradient, the translated image does. It normalises the image itself, as it was trained.

    Args:
        source: the source's part of the micro-batch: image, label and, where they differ, size.
        fake_t: its images translated, (N, 3, H, W).
    """
    size = source.get("size")
    after = pretrained(fake_t, size).p1
    if settings.semantic_target == "ground_truth":
        return losses.semantic_consistency(after, source["label"])
    with torch.no_grad():
        before = pretrained(source["image"], size).p1
    return losses.semantic_consistency(after, before, settings.semantic_target)


def discriminator_loss(
    discriminators: Call, component: str, real: Tensor, shown: Tensor, settings: Translate
) -> Tensor:
    """Return what D_T or D_S pays (eqs. 1 and 2) on real images and on translated ones of its domain."""
    return losses.gan_discriminator(discriminators(component, real), discriminators(component, shown), settings.gan)
