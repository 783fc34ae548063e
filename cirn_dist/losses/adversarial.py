"""The pixel-level adversarial losses of stage 2 (eq. 7), in the forms that the field's methods have."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirn_dist.losses.pixels import sum_of
from cirn_dist.precision import wide

if TYPE_CHECKING:
    from cirn_dist.choices import Gan

_SHORTEST = 1e-8  # no two lengths' product is taken for less, as in F.cosine_similarity


def cosine_distance(p1: Tensor, p2: Tensor) -> Tensor:
    """Return R(p1, p2) = 1 - cos(softmax(p1), softmax(p2)) per pixel: (N, C, H, W) logits -> (N, 1, H, W) in [0, 1]."""
    first, second = (F.normalize(wide(p).softmax(dim=1), dim=1) for p in (p1, p2))
    # Half the squared distance of unit vectors is the same; 1 - cos would round to noise where the heads agree.
    return (first - second).square().sum(dim=1, keepdim=True) / 2


def pixel_weights(p1: Tensor, p2: Tensor, *, lambda_cos: float = 40.0, epsilon: float = 0.4) -> Tensor:
    """Return lambda_cos * R(p1, p2) + epsilon, the weight of each target pixel in eq. 7; (N, 1, H, W)."""
    return lambda_cos * cosine_distance(p1, p2) + epsilon


def self_information(logits: Tensor) -> Tensor:
    """Return -p log2 p / log2 C per class (Vu et al. 2019, AdvEnt): what D is shown in place of p, (N, C, H, W).

    The sum over classes is the entropy in [0, 1].
    """
    log_p = wide(logits).log_softmax(dim=1)
    return -log_p.exp() * log_p / math.log(logits.shape[1])


def adversarial_segmenter(
    target: Tensor, weights: Tensor | None = None, *, detach_weights: bool = False, kind: Gan = "vanilla"
) -> Tensor:
    """Return what the segmenter pays while D tells its target predictions from the CIR's (eq. 7, non-saturating).

    Args:
        target: D's logits on P_T, (N, 1, H, W); D calls the CIR 1 and the target 0.
        weights: `pixel_weights` of the same images, of that size; None is the plain loss of the warm-up.
        detach_weights: False lets the segmenter also lower R itself, as CLAN's code does ("at the same time make as
            similar predictions as possible").
        kind: vanilla is eq. 7's logarithm; lsgan the squared distance, AdaptSegNet's other choice.
    """
    if weights is not None and detach_weights:
        weights = weights.detach()
    return _domain_loss(target, 1.0, weights, kind)


def adversarial_discriminator(
    intermediate: Tensor, target: Tensor, weights: Tensor | None = None, *, kind: Gan = "vanilla"
) -> Tensor:
    """Return D's loss (eq. 7): -log D(P_I), plus -log(1 - D(P_T)) weighted pixel by pixel.

    Args:
        intermediate: D's logits on P_I, (N, 1, H, W).
        target: D's logits on P_T, of its own size.
        weights: `pixel_weights` of the target images; D sees them as constants. None is the plain loss of the warm-up.
        kind: as in `adversarial_segmenter`.
    """
    constant = None if weights is None else weights.detach()
    return _domain_loss(intermediate, 1.0, None, kind) + _domain_loss(target, 0.0, constant, kind)


def weight_discrepancy(classifier: nn.Module, others: Iterable[nn.Module]) -> Tensor:
    """Return cos(w, w') + 1 in [0, 2] over all weights and biases of C and ACM's classifier, averaged over `others`."""
    own = _inner(classifier, classifier)
    values = []
    for other in others:
        lengths = (own * _inner(other, other)).sqrt().clamp_min(_SHORTEST)
        values.append(_inner(classifier, other) / lengths + 1)
    return sum_of(values) / len(values)


def _domain_loss(logits: Tensor, domain: float, weights: Tensor | None, kind: Gan) -> Tensor:
    logits = wide(logits)
    wanted = torch.full_like(logits, domain)
    if kind == "lsgan":
        per_pixel = (logits - wanted).square()
    else:
        per_pixel = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    # CLAN's plain mean of the product: the weights are not normalised away.
    return per_pixel.mean() if weights is None else (weights * per_pixel).mean()


def _inner(one: nn.Module, other: nn.Module) -> Tensor:
    """Return the inner product of all parameters: F.cosine_similarity would divide millions of them, four times."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return sum_of([torch.dot(wide(a).flatten(), wide(b).flatten()) for a, b in pairs])
