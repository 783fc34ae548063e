"""Every loss of the paper, one function per equation.

A batch of N images costs the mean of N single-image losses, so that the paper's batch of one keeps its meaning at any
batch size and on any number of ranks. All arithmetic is float32 or wider, also under autocast: a discriminator's
gradient per pixel is near float16's subnormals, and log(1 - sigmoid(12)) is infinite there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirn_dist.precision import wide

if TYPE_CHECKING:
    from cirn_dist.choices import Gan, SegOn, SemanticTarget
from cirn_dist.models.deeplab import SegOutput

IGNORE = 255


# Stage 1


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
        return segmentation(logits, reference.argmax(dim=1))
    return F.mse_loss(F.instance_norm(wide(logits)), F.instance_norm(reference))


# Stages 2 and 3


def segmentation(logits: Tensor, labels: Tensor, *, focal_gamma: float = 0.0) -> Tensor:
    """Return the pixel-wise cross-entropy with labels (eq. 6) or pseudo labels (eq. 9).

    Mean over each image's own valid pixels, then over images; an image without a valid pixel costs 0.

    Args:
        logits: (N, C, H, W).
        labels: (N, H, W) int64; 255 is ignored.
        focal_gamma: weight (1 - p)^gamma on each pixel; 0 is the paper, 2 is what CLAN's code does.
    """
    per_pixel = _cross_entropy(wide(logits), labels)
    if focal_gamma:
        per_pixel = (1 - torch.exp(-per_pixel)).pow(focal_gamma) * per_pixel
    return _mean_where(per_pixel, labels != IGNORE)


def supervision(
    output: SegOutput,
    labels: Tensor,
    *,
    on: SegOn = "separate",
    focal_gamma: float = 0.0,
) -> Tensor:
    """Return the segmentation loss of C and ACM (eqs. 6 and 9): the sum of each one's own, or that of their sum.

    `separate` is what CLAN trains: with the sum alone supervised, p1 and p2 are free and their distance means nothing.
    """
    if on == "sum":
        return segmentation(output.logits, labels, focal_gamma=focal_gamma)
    return sum_of(segmentation(p, labels, focal_gamma=focal_gamma) for p in output.heads)


def weighted_supervision(output: SegOutput, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy with a weight per pixel, averaged over all pixels and summed over the heads.

    A pixel that is ignored (255) costs nothing but is counted, as in DACS and MIC.

    Args:
        weights: (N, H, W), or (N, 1, 1) for one per image.
    """
    return sum_of((weights * _cross_entropy(wide(p), labels)).mean() for p in output.heads)


def confidence_penalty(output: SegOutput, labels: Tensor) -> Tensor:
    """Return the divergence of the uniform distribution from the prediction at pixels with a pseudo label.

    -1/C sum_c log p_c, less its constant: CRST's model regulariser MRKLD (Zou et al. 2019), also IAST's. It keeps
    wrong pseudo labels from being learned to the last digit. Averaged as `segmentation`, summed over the heads.
    """
    penalties = (-wide(p).log_softmax(dim=1).mean(dim=1) for p in output.heads)
    return sum_of(_mean_where(penalty, labels != IGNORE) for penalty in penalties)


def unlabelled_entropy(output: SegOutput, labels: Tensor) -> Tensor:
    """Return the entropy of the prediction at pixels without a pseudo label.

    IAST's regulariser of ignored regions (Mei et al. 2020); averaged over those pixels of each image, then over
    images, summed over the heads.
    """
    spread = (-(wide(p).softmax(dim=1) * wide(p).log_softmax(dim=1)).sum(dim=1) for p in output.heads)
    return sum_of(_mean_where(entropy, labels == IGNORE) for entropy in spread)


def cosine_distance(p1: Tensor, p2: Tensor) -> Tensor:
    """Return R(p1, p2) = 1 - cos(softmax(p1), softmax(p2)) per pixel: (N, C, H, W) logits -> (N, 1, H, W) in [0, 1]."""
    first, second = (F.normalize(wide(p).softmax(dim=1), dim=1) for p in (p1, p2))
    # Half the squared distance of unit vectors is the same; 1 - cos would round to noise where the heads agree.
    return (first - second).square().sum(dim=1, keepdim=True) / 2


def pixel_weights(p1: Tensor, p2: Tensor, *, lambda_cos: float = 40.0, epsilon: float = 0.4) -> Tensor:
    """Return lambda_cos * R(p1, p2) + epsilon, the weight of each target pixel in eq. 7; (N, 1, H, W)."""
    return lambda_cos * cosine_distance(p1, p2) + epsilon


def adversarial_segmenter(target: Tensor, weights: Tensor | None = None, *, detach_weights: bool = False) -> Tensor:
    """Return what the segmenter pays while D tells its target predictions from the CIR's (eq. 7, non-saturating).

    Args:
        target: D's logits on P_T, (N, 1, H, W) at the prediction's size; D calls the CIR 1 and the target 0.
        weights: `pixel_weights` of the same images; None is the plain loss of the warm-up.
        detach_weights: False lets the segmenter also lower R itself, as CLAN's code does ("at the same time make as
            similar predictions as possible").
    """
    if weights is not None and detach_weights:
        weights = weights.detach()
    return _domain_cross_entropy(target, 1.0, weights)


def adversarial_discriminator(intermediate: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return D's loss (eq. 7): -log D(P_I), plus -log(1 - D(P_T)) weighted pixel by pixel.

    Args:
        intermediate: D's logits on P_I, (N, 1, H, W) at the prediction's size.
        target: D's logits on P_T, of its own size.
        weights: `pixel_weights` of the target images; D sees them as constants. None is the plain loss of the warm-up.
    """
    constant = None if weights is None else weights.detach()
    return _domain_cross_entropy(intermediate, 1.0) + _domain_cross_entropy(target, 0.0, constant)


def weight_discrepancy(classifier: nn.Module, others: Iterable[nn.Module]) -> Tensor:
    """Return cos(w, w') + 1 in [0, 2] over all weights and biases of C and ACM's classifier, averaged over `others`."""
    own = _flat(classifier)
    values = [F.cosine_similarity(own, _flat(other), dim=0) + 1 for other in others]
    return sum_of(values) / len(values)


def sum_of(values: Iterable[Tensor]) -> Tensor:
    """Return the sum of one or more scalar tensors."""
    return torch.stack(list(values)).sum()


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each pixel's cross-entropy, (N, H, W), 0 where the label is 255.

    torch's own has no deterministic form on GPUs.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    ignored = labels == IGNORE
    chosen = logits.log_softmax(dim=1).gather(1, labels.masked_fill(ignored, 0)[:, None])[:, 0]
    return chosen.neg().masked_fill(ignored, 0.0)


def _mean_where(per_pixel: Tensor, counted: Tensor) -> Tensor:
    """Average (N, H, W) over each image's counted pixels, then over images; an image without any is 0."""
    pixels = counted.sum(dim=(1, 2)).clamp(min=1)
    return ((per_pixel * counted).sum(dim=(1, 2)) / pixels).mean()


def _domain_cross_entropy(logits: Tensor, domain: float, weights: Tensor | None = None) -> Tensor:
    logits = wide(logits)
    per_pixel = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, domain), reduction="none")
    # CLAN's plain mean of the product: the weights are not normalised away.
    return per_pixel.mean() if weights is None else (weights * per_pixel).mean()


def _flat(module: nn.Module) -> Tensor:
    return torch.cat([wide(parameter).flatten() for parameter in module.parameters()])
