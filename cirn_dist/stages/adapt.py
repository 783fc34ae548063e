"""Stage 2, adaptive semantic segmentation: from the CIR (I) to the target (T) with C, ACM and D (eqs. 6 to 8).

Read as PEERS' lineage implements it: D tells I from T on the softmax of C's and ACM's summed logits; each target
pixel's term is weighted by lambda_cos * R(p1, p2) + epsilon; C's and ACM's weights are pushed apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cirn_dist import losses
from cirn_dist.config import Adapt
from cirn_dist.data.index import ShardSet
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.players import Player
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Losses, Pass
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.models.discriminators import PixelDiscriminator
from cirn_dist.schedule import damping, lr_factor, poly, warmup
from cirn_dist.seeds import derive
from cirn_dist.stages.parts import initial_segmenter, segmenter_player, stream


def adapt(run: Run, name: str, intermediate: ShardSet, target: ShardSet, settings: Adapt) -> None:
    """Train the segmenter against D: supervised on I, adversarially on T."""
    segmenter, parents = initial_segmenter(run, settings, with_acm=True)
    player = segmenter_player(run, segmenter, settings)
    discriminator = _discriminator_player(run, settings)

    def weights(output: SegOutput, iteration: int) -> Tensor | None:
        """Return eq. 7's weight of each target pixel; none during the warm-up, as in CLAN."""
        if iteration <= settings.warmup or output.p2 is None:
            return None
        return losses.pixel_weights(output.p1, output.p2, lambda_cos=settings.lambda_cos, epsilon=settings.epsilon)

    def faded(iteration: int) -> float:
        return damping(iteration, settings.iterations) if settings.damping else 1.0

    def learn_from_cir(batch: Batch, iteration: int) -> Losses:
        output = player("segmenter", batch["source"]["image"])
        batch["intermediate"] = _probabilities(output).detach()
        seg = losses.supervision(output, batch["source"]["label"], on=settings.seg_on, focal_gamma=settings.focal_gamma)
        return {"seg": seg}

    def fool_discriminator(batch: Batch, iteration: int) -> Losses:
        output = player("segmenter", batch["target"]["image"])
        probabilities = _probabilities(output)
        weight_map = weights(output, iteration)
        batch["target_probabilities"] = probabilities.detach()
        batch["weights"] = None if weight_map is None else weight_map.detach()
        adversarial = losses.adversarial_segmenter(
            discriminator.raw("discriminator")(probabilities), weight_map, detach_weights=settings.detach_weight_map
        )
        discrepancy = losses.weight_discrepancy(segmenter.classifier, segmenter.acm.classifiers)  # type: ignore[union-attr]
        return {
            "adv": settings.lambda_adv * faded(iteration) * adversarial,
            "weight": settings.lambda_weight * faded(iteration) * discrepancy,
        }

    def tell_domains_apart(batch: Batch, iteration: int) -> Losses:
        on_intermediate = discriminator("discriminator", batch["intermediate"])
        on_target = discriminator("discriminator", batch["target_probabilities"])
        return {"d": losses.adversarial_discriminator(on_intermediate, on_target, batch["weights"])}

    training = Training(
        name,
        settings.iterations,
        players={"segmenter": player, "discriminator": discriminator},
        passes=[
            Pass("segmenter", learn_from_cir),
            Pass("segmenter", fool_discriminator),
            Pass("discriminator", tell_domains_apart),
        ],
        streams={
            "source": stream(run, intermediate, settings.augment, "source"),
            "target": stream(run, target, settings.augment, "target"),
        },
        parents=parents,
    )
    fit(training, run)


def _probabilities(output: SegOutput) -> Tensor:
    """Return P: the softmax of the summed logits, (N, C, H, W)."""
    return output.logits.softmax(dim=1)


def _discriminator_player(run: Run, settings: Adapt) -> Player:
    torch.manual_seed(derive(run.config.seed, "discriminator"))
    discriminator = PixelDiscriminator(run.labels.num_classes, settings.ndf)
    images = run.config.engine.images_per_step
    scale = lr_factor(run.config.engine.lr_scaling, "adam", images)
    return Player(
        "discriminator",
        {"discriminator": discriminator},
        lambda: torch.optim.Adam(
            discriminator.parameters(), settings.d_lr, settings.d_betas, weight_decay=settings.d_weight_decay
        ),
        lambda i: scale * warmup(i + images, settings.warmup) * poly(i, settings.iterations, settings.power),
        run.runtime,
    )
