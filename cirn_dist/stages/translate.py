"""Stage 1, constructing the Content Invariant Representation: CycleGAN with semantic consistency (eqs. 1 to 5).

`generator_s2t` is the paper's G: S -> T, `generator_t2s` its F: T -> S; `discriminator_t` its D_T, `discriminator_s`
its D_S.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cirn_dist import losses
from cirn_dist.config import Translate
from cirn_dist.data.index import ShardSet
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Losses, Pass
from cirn_dist.stages.colours import TargetColours
from cirn_dist.stages.gan_parts import Pools, gan_players
from cirn_dist.stages.parts import load_segmenter, stream
from cirn_dist.stages.watch import Watch

# (component, images) -> images or logits
Call = Callable[[str, Tensor], Tensor]


def translate(run: Run, source: ShardSet, target: ShardSet) -> None:
    """Train both generators and both discriminators."""
    settings = run.config.translate
    players = gan_players(run)
    generators, discriminators = players["generators"], players["discriminators"]
    pretrained = load_segmenter(run, "source").to(run.runtime.dtype)
    colours = TargetColours.measure(run, target) if settings.colour_match else None
    pools = Pools(run)

    def judge(component: str, images: Tensor) -> Tensor:
        logits: Tensor = discriminators.raw(component)(images)  # frozen in the generators' pass
        return logits

    def translate_and_back(batch: Batch, iteration: int) -> Losses:
        x_s, x_t = batch["source"]["image"], batch["target"]["image"]
        if colours is not None:
            x_s = colours.give(x_s, batch["source"]["k"])
        batch["real"] = {"source": x_s, "target": x_t}
        terms = generator_losses(generators, judge, batch, settings)
        if settings.lambda_sem > 0:
            terms["semantic"] = settings.lambda_sem * semantic_loss(pretrained, batch, settings)
        return terms

    def tell_real_from_translated(batch: Batch, iteration: int) -> Losses:
        shown = {
            domain: pools.exchange(domain, batch["fake"][domain].detach(), batch[domain]["k"].tolist())
            for domain in ("source", "target")
        }
        return discriminator_losses(discriminators, batch["real"], shown, settings)

    training = Training(
        "translate",
        settings.iterations,
        players=players,
        passes=[
            Pass("generators", translate_and_back, observe=Watch(run).observe),
            Pass("discriminators", tell_real_from_translated),
        ],
        streams={
            "source": stream(run, source, settings.augment, "source", width=settings.load_width),
            "target": stream(run, target, settings.augment, "target", width=settings.load_width),
        },
        memory=pools,
        parents={"source": str(run.finished("source").path.relative_to(run.folder))},
    )
    fit(training, run)


def generator_losses(generators: Call, discriminators: Call, batch: Batch, settings: Translate) -> Losses:
    """Return what G and F pay (eqs. 1 to 3): fooling D_T and D_S, and coming back to where they started.

    Translations and reconstructions are left in the batch, by the domain they look like.
    """
    x_s, x_t = batch["real"]["source"], batch["real"]["target"]
    fake_t, fake_s = generators("generator_s2t", x_s), generators("generator_t2s", x_t)
    back_s, back_t = generators("generator_t2s", fake_t), generators("generator_s2t", fake_s)
    batch["fake"] = {"source": fake_s, "target": fake_t}
    batch["reconstructed"] = {"source": back_s.detach(), "target": back_t.detach()}
    terms = {
        "gan_s2t": losses.gan(discriminators("discriminator_t", fake_t), True, settings.gan),
        "gan_t2s": losses.gan(discriminators("discriminator_s", fake_s), True, settings.gan),
        "cycle_s": settings.lambda_cyc * losses.cycle(back_s, x_s),
        "cycle_t": settings.lambda_cyc * losses.cycle(back_t, x_t),
    }
    if settings.lambda_identity > 0:  # CycleGAN's own option: an image that is already there should stay
        terms["identity_s"] = settings.lambda_identity * losses.cycle(generators("generator_t2s", x_s), x_s)
        terms["identity_t"] = settings.lambda_identity * losses.cycle(generators("generator_s2t", x_t), x_t)
    return terms


def semantic_loss(pretrained: nn.Module, batch: Batch, settings: Translate) -> Tensor:
    """Return L_sem (eq. 4) of the translated source images, by the frozen net of the source stage.

    Its parameters get no gradient, the translated image does. It normalises the image itself, as it was trained.
    """
    size = batch["source"].get("size")
    after = pretrained(batch["fake"]["target"], size).p1
    if settings.semantic_target == "ground_truth":
        return losses.semantic_consistency(after, batch["source"]["label"])
    with torch.no_grad():
        before = pretrained(batch["source"]["image"], size).p1
    return losses.semantic_consistency(after, before, settings.semantic_target)


def discriminator_losses(
    discriminators: Call, real: dict[str, Tensor], shown: dict[str, Tensor], settings: Translate
) -> Losses:
    """Return what D_T and D_S pay (eqs. 1 and 2) on real images and on translated ones of their domain."""
    return {
        component: losses.gan_discriminator(
            discriminators(component, real[domain]), discriminators(component, shown[domain]), settings.gan
        )
        for domain, component in (("target", "discriminator_t"), ("source", "discriminator_s"))
    }
