"""Stage 1: what the generators and their discriminators pay (eqs. 1 to 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cirn_dist.losses.supervision import segmentation
from cirn_dist.precision import wide

if TYPE_CHECKING:
    from cirn_dist.choices import Gan, SemanticTarget


def gan(logits: Tensor, real: bool, kind: Gan = "lsgan") -> Tensor:
    """Return the GAN loss of patch logits against the label `real` or fake (eqs. 1 and 2).

    The generator minimises `gan(D(G(x)), True)`, the non-saturating form. `vanilla` is the logarithm the paper prints;
    `lsgan` is the squared distance to 1 or 0 that CycleGAN, which the paper adopts, trains with.
    """
    logits = wide(logits)
    wanted = torch.full_like(logits, float(real))
    if kind == "lsgan":
        return F.mse_loss(logits, wanted)
    return F.binary_cross_entropy_with_logits(logits, wanted)


def gan_discriminator(real: Tensor, fake: Tensor, kind: Gan = "lsgan") -> Tensor:
    """Return a translation discriminator's loss (eqs. 1 and 2), halved as CycleGAN's authors do to slow it down."""
    return 0.5 * (gan(real, True, kind) + gan(fake, False, kind))


def cycle(reconstructed: Tensor, images: Tensor) -> Tensor:
    """Return one term of the cycle consistency: the mean L1 distance of F(G(x)) and x (eq. 3).

    The paper prints G(x_t) inside F in the second term; the cycle of a target image is G(F(x_t)).
    """
    return F.l1_loss(wide(reconstructed), wide(images))


def semantic_consistency(logits: Tensor, reference: Tensor, target: SemanticTarget = "ground_truth") -> Tensor:
    """Return how far the frozen source net's logits on G(x_s), (N, C, H, W), are from what x_s is (eq. 4).

    Args:
        logits: the frozen net's output on the translated image.
        reference: the labels (N, H, W) for `ground_truth`, eq. 4 as printed; else the frozen net's logits on x_s.
        target: `argmax` asks for the same decision (CyCADA); `logits` for the same logits after instance
            normalisation, by mean squared error (BDL).
    """
    if target == "ground_truth":
        return segmentation(logits, reference)
    reference = wide(reference.detach())
    if target == "argmax":
        return segmentation(logits, reference.max(dim=1).indices)
    return F.mse_loss(F.instance_norm(wide(logits)), F.instance_norm(reference))
