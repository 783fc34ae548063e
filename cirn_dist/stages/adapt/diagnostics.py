"""What is watched during stage 2: how undecided D is, how far C and ACM are apart, how open the gates are."""

from __future__ import annotations

from torch import Tensor

from cirn_dist import losses
from cirn_dist.choices import Gan
from cirn_dist.engine.step import Losses
from cirn_dist.models.deeplab import Segmenter, SegOutput

LEVELS = tuple(level / 10 for level in range(1, 10))


def discriminator_probabilities(on_intermediate: Tensor, on_target: Tensor, kind: Gan = "vanilla") -> Losses:
    """Return D's mean probability of "this is I" on both domains, from its logits; both 0.5 where it is undecided.

    A least squares D gives it as it is, not always within [0, 1].
    """
    found = {"d_intermediate": on_intermediate, "d_target": on_target}
    return {name: (d if kind == "lsgan" else d.sigmoid()).mean() for name, d in found.items()}


def classifiers(segmenter: Segmenter, on_target: SegOutput) -> Losses:
    """Return how far C and ACM are apart, on the target and in their weights; nothing without ACM."""
    if segmenter.acm is None:
        return {}
    cosine = losses.weight_discrepancy(segmenter.classifier, segmenter.acm.classifiers) - 1
    return disagreement(on_target) | {"weight_cosine": cosine}


def disagreement(output: SegOutput) -> Losses:
    """Return the mean of R(p1, p2) over the target's pixels, the share of them where it exceeds 0.1, 0.2, ... 0.9,
    and each attention map's mean.
    """
    found: Losses = {}
    if output.p2 is not None:
        distance = losses.cosine_distance(output.p1, output.p2)
        found["r_mean"] = distance.mean()
        found |= {f"r_above_{level}": (distance > level).float().mean() for level in LEVELS}
    if output.gates is not None:
        found |= {f"gate_{k + 1}": gate.mean() for k, gate in enumerate(output.gates.float().unbind(dim=1))}
    return found
