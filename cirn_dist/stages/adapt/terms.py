"""Stage 2's terms on the target beside the adversarial one: ACM's, and those of methods without a discriminator."""

from __future__ import annotations

from torch import Tensor

from cirn_dist import losses
from cirn_dist.config.groups.adapt import Adapt
from cirn_dist.engine.step import Losses
from cirn_dist.models.deeplab import Segmenter, SegOutput
from cirn_dist.schedule import damping


def faded(settings: Adapt, iteration: int) -> float:
    """Return CLAN's damping of the adversarial term and the weight discrepancy, 1 without."""
    return damping(iteration, settings.horizon) if settings.damping else 1.0


def weights_apart(segmenter: Segmenter, settings: Adapt, iteration: int) -> Losses:
    """Return the term that keeps C's and ACM's weights apart; nothing without ACM."""
    if segmenter.acm is None:
        return {}
    apart = losses.weight_discrepancy(segmenter.classifier, segmenter.acm.classifiers)
    return {"weight": settings.lambda_weight * faded(settings, iteration) * apart}


def source_terms(on_i: SegOutput, labels: Tensor, settings: Adapt) -> Losses:
    """Return the supervised terms: C's and ACM's (eq. 6), and the auxiliary classifier's where it has a weight."""
    seg = losses.supervision(on_i, labels, on=settings.seg_on, focal_gamma=settings.focal_gamma)
    if not settings.auxiliary.lambda_seg or on_i.aux is None:
        return {"seg": seg}
    aux = losses.segmentation(on_i.aux, labels, focal_gamma=settings.focal_gamma)
    return {"seg": seg, "seg_aux": settings.auxiliary.lambda_seg * aux}


def target_terms(on_t: SegOutput, settings: Adapt, iteration: int) -> Losses:
    """Return the terms on the prediction of target images that have a weight: entropy, maximum squares, guidance."""
    terms: Losses = {}
    if settings.lambda_entropy:
        terms["entropy"] = settings.lambda_entropy * losses.entropy(on_t.logits)
    if settings.auxiliary.lambda_entropy and on_t.aux is not None:
        terms["entropy_aux"] = settings.auxiliary.lambda_entropy * losses.entropy(on_t.aux)
    if settings.max_square.weight:
        square = losses.max_square(on_t.logits, ratio=settings.max_square.ratio)
        terms["max_square"] = settings.max_square.weight * square
    robust = settings.robust_entropy
    if robust.weight:
        counts = float(iteration >= robust.after)  # one term at every step: what is logged has the same names
        terms["robust_entropy"] = counts * robust.weight * losses.robust_entropy(on_t.small, eta=robust.eta)
    if settings.guidance.weight and on_t.p2 is not None:
        guided = losses.guidance(on_t.p1, on_t.p2, threshold=settings.guidance.threshold)
        terms["guidance"] = settings.guidance.weight * guided
    return terms
