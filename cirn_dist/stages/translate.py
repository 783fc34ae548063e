"""Stage 1, constructing the Content Invariant Representation: CycleGAN with semantic consistency (eqs. 1 to 5).

`generator_s2t` is the paper's G: S -> T, `generator_t2s` its F: T -> S; `discriminator_t` its D_T, `discriminator_s`
its D_S.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cirn_dist import losses
from cirn_dist.config import Translate
from cirn_dist.data.index import ShardSet
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.players import Player, build_player
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Losses, Pass
from cirn_dist.models.cyclegan import Generator
from cirn_dist.models.discriminators import PatchDiscriminator
from cirn_dist.models.pool import ImagePool
from cirn_dist.schedule import constant_then_linear, lr_factor
from cirn_dist.seeds import derive
from cirn_dist.stages.colours import TargetColours
from cirn_dist.stages.parts import load_segmenter, stream

GENERATORS = ("generator_s2t", "generator_t2s")


def build_generator(run: Run, component: str) -> Generator:
    """Build one generator, its random weights a function of the run's seed."""
    settings = run.config.translate
    torch.manual_seed(derive(run.config.seed, component))
    return Generator(
        settings.ngf, settings.blocks, residual_output=settings.residual_output, upsampling=settings.upsampling
    )


def translate(run: Run, source: ShardSet, target: ShardSet) -> None:
    """Train both generators and both discriminators."""
    settings = run.config.translate
    generators = _player(run, "generators", {name: build_generator(run, name) for name in GENERATORS})
    discriminators = _player(run, "discriminators", _build_discriminators(run))
    pretrained = load_segmenter(run, "source").to(run.runtime.dtype)
    colours = TargetColours.measure(run, target) if settings.colour_match else None
    pools = Pools(run)

    def translate_both_ways(batch: Batch, iteration: int) -> Losses:
        x_s, x_t = batch["source"]["image"], batch["target"]["image"]
        if colours is not None:
            x_s = colours.give(x_s, batch["source"]["k"])
        fake_t = generators("generator_s2t", x_s)
        fake_s = generators("generator_t2s", x_t)
        batch["real"] = {"source": x_s, "target": x_t}
        batch["fake"] = {"source": fake_s.detach(), "target": fake_t.detach()}
        terms = {
            "gan_s2t": losses.gan(discriminators.raw("discriminator_t")(fake_t), True, settings.gan),
            "gan_t2s": losses.gan(discriminators.raw("discriminator_s")(fake_s), True, settings.gan),
            "cycle_s": settings.lambda_cyc * losses.cycle(generators("generator_t2s", fake_t), x_s),
            "cycle_t": settings.lambda_cyc * losses.cycle(generators("generator_s2t", fake_s), x_t),
        }
        if settings.lambda_identity > 0:
            terms["identity_s"] = settings.lambda_identity * losses.cycle(generators("generator_t2s", x_s), x_s)
            terms["identity_t"] = settings.lambda_identity * losses.cycle(generators("generator_s2t", x_t), x_t)
        if settings.lambda_sem > 0:
            reference = _reference(pretrained, batch, settings)
            terms["semantic"] = settings.lambda_sem * losses.semantic_consistency(
                pretrained(fake_t, batch["source"].get("size")).p1, reference, settings.semantic_target
            )
        return terms

    def tell_real_from_translated(batch: Batch, iteration: int) -> Losses:
        terms = {}
        for domain, component in (("target", "discriminator_t"), ("source", "discriminator_s")):
            fakes = pools.exchange(domain, batch["fake"][domain], batch[domain]["k"].tolist())
            on_real = discriminators(component, batch["real"][domain])
            on_fake = discriminators(component, fakes)
            terms[component] = losses.gan_discriminator(on_real, on_fake, settings.gan)
        return terms

    training = Training(
        "translate",
        settings.iterations,
        players={"generators": generators, "discriminators": discriminators},
        passes=[Pass("generators", translate_both_ways), Pass("discriminators", tell_real_from_translated)],
        streams={
            "source": stream(run, source, settings.augment, "source", width=settings.load_width),
            "target": stream(run, target, settings.augment, "target", width=settings.load_width),
        },
        memory=pools,
        parents={"source": str(run.finished("source").path.relative_to(run.folder))},
    )
    fit(training, run)


def _reference(pretrained: nn.Module, batch: Batch, settings: Translate) -> Tensor:
    """Return what L_sem compares the translated image with: labels, or the frozen net's logits before translation."""
    if settings.semantic_target == "ground_truth":
        labels: Tensor = batch["source"]["label"]
        return labels
    with torch.no_grad():
        before: Tensor = pretrained(batch["source"]["image"], batch["source"].get("size")).p1
    return before


def _build_discriminators(run: Run) -> dict[str, nn.Module]:
    settings = run.config.translate
    networks: dict[str, nn.Module] = {}
    for component in ("discriminator_s", "discriminator_t"):
        torch.manual_seed(derive(run.config.seed, component))
        networks[component] = PatchDiscriminator(settings.ndf, settings.d_layers)
    return networks


def _player(run: Run, name: str, networks: Mapping[str, nn.Module]) -> Player:
    settings = run.config.translate
    scale = lr_factor(run.config.engine.lr_scaling, "adam", run.config.engine.images_per_step)
    parameters = [p for network in networks.values() for p in network.parameters()]
    return build_player(
        name,
        networks,
        lambda: torch.optim.Adam(parameters, settings.lr, betas=settings.betas),
        lambda i: scale * constant_then_linear(i, settings.iterations, settings.constant_share),
        run.runtime,
        clip_norm=settings.clip_norm,
    )


class Pools:
    """The two pools of earlier translations, one per discriminator."""

    def __init__(self, run: Run) -> None:
        size, lanes = run.config.translate.pool, run.config.engine.images_per_step
        self.device = run.runtime.device
        self.pools = {d: ImagePool(size, lanes, seed=run.config.seed, name=d) for d in ("source", "target")}

    def exchange(self, domain: str, images: Tensor, ks: list[int]) -> Tensor:
        """Show the discriminator of `domain` these translations, or earlier ones."""
        return self.pools[domain].exchange(images, ks)

    def tensors(self) -> dict[str, Tensor]:
        """Return this rank's lanes of both pools."""
        return {key: tensor for pool in self.pools.values() for key, tensor in pool.tensors().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the whole state of both pools."""
        for pool in self.pools.values():
            pool.load(tensors, self.device)
