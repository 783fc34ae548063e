"""What stage 1 is made of: two generators in one player, two discriminators in another, and two image pools."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cirn_dist.config.groups.translate import Translate
from cirn_dist.engine.backends import build_player
from cirn_dist.engine.players import Player
from cirn_dist.engine.run import Run
from cirn_dist.models.cyclegan import Generator
from cirn_dist.models.discriminators import PatchDiscriminator
from cirn_dist.models.pool import ImagePool
from cirn_dist.schedule import constant_then_linear
from cirn_dist.seeds import derive
from cirn_dist.stages.segmenter import scaling

GENERATORS = ("generator_s2t", "generator_t2s")
DISCRIMINATORS = ("discriminator_s", "discriminator_t")


def build_generator(settings: Translate, seed: int, component: str) -> Generator:
    """Build one generator, its random weights a function of the run's seed and its name."""
    torch.manual_seed(derive(seed, component))
    return Generator(
        settings.ngf,
        settings.blocks,
        residual_output=settings.residual_output,
        upsampling=settings.upsampling,
        checkpoint_blocks=settings.checkpoint_activations,
    )


def build_discriminator(settings: Translate, seed: int, component: str) -> PatchDiscriminator:
    """Build one discriminator, its random weights a function of the run's seed and its name."""
    torch.manual_seed(derive(seed, component))
    return PatchDiscriminator(settings.ndf, settings.d_layers)


def gan_players(run: Run) -> dict[str, Player]:
    """Return the players `generators` and `discriminators`, each with its own Adam, decaying linearly to 0."""
    settings, seed = run.config.translate, run.config.seed
    return {
        "generators": _player(run, "generators", {n: build_generator(settings, seed, n) for n in GENERATORS}),
        "discriminators": _player(
            run, "discriminators", {n: build_discriminator(settings, seed, n) for n in DISCRIMINATORS}
        ),
    }


def _player(run: Run, name: str, networks: Mapping[str, nn.Module]) -> Player:
    settings = run.config.translate
    scale = scaling(run.config, "adam", settings.iterations)
    parameters = [p for network in networks.values() for p in network.parameters()]
    return build_player(
        name,
        networks,
        lambda: torch.optim.Adam(parameters, settings.lr, betas=settings.betas),
        lambda i: scale(i) * constant_then_linear(i, settings.iterations, settings.constant_share),
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
