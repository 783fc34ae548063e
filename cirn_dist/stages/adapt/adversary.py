"""The pixel-level adversarial loss of stage 2 (eq. 7), for both of its players, in the forms that the field has.

Read as the lineage's code has it: D tells I from T on the softmax of C's and ACM's summed logits; each target pixel's
term is weighted by lambda_cos * R(p1, p2) + epsilon; C's and ACM's weights are pushed apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cirn_dist import losses
from cirn_dist.checkpoint.state import load_component
from cirn_dist.config.groups.adapt import Adapt
from cirn_dist.engine.backends import build_player
from cirn_dist.engine.players import Player
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Losses, Pass
from cirn_dist.models.deeplab import Segmenter, SegOutput
from cirn_dist.models.discriminators import PixelDiscriminator
from cirn_dist.schedule import poly, warmup
from cirn_dist.seeds import derive
from cirn_dist.stages.adapt.diagnostics import classifiers, discriminator_probabilities
from cirn_dist.stages.adapt.terms import faded
from cirn_dist.stages.segmenter import scaling

Shown = dict[str, Tensor]  # D's name -> what it is shown


class Adversary:
    """Domain discriminator D and the segmenter's adversarial loss.

    Args:
        segmenter: whose C and ACM differ in their weights.
        parent: the stage whose D this one goes on from; None starts a new one.
    """

    def __init__(self, run: Run, segmenter: Segmenter, settings: Adapt, parent: str | None = None) -> None:
        self.segmenter, self.settings = segmenter, settings
        self.weight = {"discriminator": settings.lambda_adv}
        if settings.auxiliary.lambda_adv:
            self.weight["discriminator_aux"] = settings.auxiliary.lambda_adv
        networks = {}
        for name in self.weight:
            torch.manual_seed(derive(run.config.seed, name))
            networks[name] = PixelDiscriminator(run.labels.num_classes, settings.ndf, coarse=settings.coarse)
            if parent is not None:
                load_component(networks[name], run.finished(parent), name)
        self.player = _player(run, networks, settings)

    def shown(self, output: SegOutput) -> Shown:
        """Return what each D sees of a prediction, (N, C, H, W): the main one, and that of the auxiliary classifier."""
        see = losses.self_information if self.settings.shown == "selfinfo" else _softmax
        seen = {"discriminator": see(output.logits)}
        if "discriminator_aux" in self.weight:
            assert output.aux is not None
            seen["discriminator_aux"] = see(output.aux)
        return seen

    def weights(self, output: SegOutput, iteration: int) -> Tensor | None:
        """Return the weight of each target pixel; none during the warm-up, as in CLAN."""
        if iteration <= self.settings.warmup or output.p2 is None:
            return None
        lambda_cos, epsilon = self.settings.lambda_cos, self.settings.epsilon
        return losses.pixel_weights(output.p1, output.p2, lambda_cos=lambda_cos, epsilon=epsilon)

    def segmenter_terms(self, prediction: Shown, weights: Tensor | None, iteration: int) -> Losses:
        """Return the segmenter's terms: fooling each D on T.

        Args:
            prediction: `shown` of T.
            weights: of T's pixels, (N, 1, H, W), or None.
        """
        settings, terms = self.settings, {}
        for name, seen in prediction.items():
            fooling = losses.adversarial_segmenter(
                self.player.raw(name)(seen), weights, detach_weights=settings.detach_weight_map, kind=settings.gan
            )
            terms[name.replace("discriminator", "adv")] = self.weight[name] * faded(settings, iteration) * fooling
        return terms

    def discriminator_pass(self, p_i: Shown, p_t: Shown, weights: Tensor | None, on_t: SegOutput) -> Pass:
        """Return D's loss on the predictions on I and T, which get no gradient, and what is observed beside it.

        The authors judge convergence by D's probabilities; C and ACM should disagree less on T as training goes on.
        """
        settings = self.settings
        judged = {name: (self.player(name, p_i[name].detach()), self.player(name, p_t[name].detach())) for name in p_t}
        terms = {}
        for name, (d_i, d_t) in judged.items():
            loss = losses.adversarial_discriminator(d_i, d_t, weights, kind=settings.gan)
            terms[name.replace("discriminator", "d")] = 0.5 * loss if settings.halve_d else loss

        def observe() -> Losses:
            found = discriminator_probabilities(*judged["discriminator"], settings.gan)
            return found | classifiers(self.segmenter, on_t)

        return Pass(terms, observe)


def detached(shown: Shown) -> Shown:
    """Return the same without gradients."""
    return {name: seen.detach() for name, seen in shown.items()}


def probabilities(output: SegOutput) -> Tensor:
    """Return P: the softmax of the summed logits, (N, C, H, W)."""
    return _softmax(output.logits)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def _player(run: Run, discriminators: dict[str, PixelDiscriminator], settings: Adapt) -> Player:
    parameters = [p for network in discriminators.values() for p in network.parameters()]
    images = run.config.engine.images_per_step
    scale = scaling(run.config, "adam", settings.iterations)
    return build_player(
        "discriminator",
        discriminators,
        lambda: torch.optim.Adam(parameters, settings.d_lr, settings.d_betas, weight_decay=settings.d_weight_decay),
        lambda i: scale(i) * warmup(i + images, settings.warmup) * poly(i, settings.horizon, settings.power),
        run.runtime,
    )
