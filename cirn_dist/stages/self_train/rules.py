"""Which predictions become pseudo labels: the rules of BDL, CRST and IAST, and a fixed threshold.

Thresholds are exact to a bin of `confidence.py`'s: to a 256th of what they lack of 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cirn_dist.config.groups.self_train import PseudoLabel
from cirn_dist.data.labels import IGNORE
from cirn_dist.stages.self_train.confidence import BINS, EDGES, Counts, bins_of

Thresholds = npt.NDArray[np.float64]
_LEAST = float(EDGES[1])  # of a threshold that probabilities are divided by


def portion_of_round(settings: PseudoLabel, number: int) -> float:
    """Return the share of each class's pixels that round `number`, counted from 1, keeps."""
    grown = settings.portion + settings.portion_growth * (number - 1)
    return min(grown, max(settings.portion, settings.portion_max))


def thresholds(counts: Counts, settings: PseudoLabel, number: int = 1) -> Thresholds:
    """Return each class's least confidence over the whole set, (C,).

    `bdl` (Li et al. 2019): where the kept portion begins, capped; 0 for a class nobody predicted, which no pixel
    meets. `crst` (Zou et al. 2019): the same without a cap, 1 for a class with too few pixels. Each is the lower edge
    of its bin.
    """
    if settings.rule == "fixed":
        return np.full(len(counts), settings.threshold)
    above = counts[:, ::-1].cumsum(1)[:, ::-1]  # pixels in this bin or a higher one
    wanted = portion_of_round(settings, number) * counts.sum(1, keepdims=True)
    if settings.rule == "crst":
        wanted = np.floor(wanted)
    # The highest bin from which at least the wanted portion lies above; bin 0 always qualifies.
    limits = EDGES[BINS - 1 - np.argmax((above >= wanted)[:, ::-1], axis=1)]
    if settings.rule == "crst":
        return np.where(wanted[:, 0] > 0, limits, 1.0)
    return np.where(counts.sum(1) > 0, np.minimum(limits, settings.cap), 0.0)


def adapted_thresholds(before: Thresholds, counts: Counts, settings: PseudoLabel) -> Thresholds:
    """Return IAST's thresholds of one image, (C,), from those of the image before it (Mei et al. 2020, eqs. 5 and 6).

    The image's own threshold of a class keeps its most confident alpha * before^gamma; the two are mixed by beta.
    A class that is not in the image keeps its threshold.

    Args:
        counts: the image's `confidence_histogram`.
    """
    after = before.copy()
    for c in np.flatnonzero(counts.sum(1)):
        values = counts[c].copy()
        values[bins_of(before[c])] += 1  # the lineage adds the old threshold to the pixels
        rank = (1 - settings.alpha * before[c] ** settings.gamma) * (values.sum() - 1)
        own = EDGES[np.searchsorted(values.cumsum(), np.floor(rank), side="right")]
        after[c] = settings.beta * before[c] + (1 - settings.beta) * own
    return np.minimum(after, 0.999)


def uncertainty(probabilities: Tensor, rare: Sequence[int] = ()) -> float:
    """Return the mean entropy of an image's pixels, of (C, H, W) probabilities; 0 is certain, 1 knows nothing.

    IntraDA ranks images by it (Pan et al. 2020).

    Args:
        rare: classes for its `normalize`: an image that has none of them counts 1.5 times, one that has all 0.5 times.
    """
    entropy = float(torch.special.entr(probabilities.double()).sum(0).mean()) / math.log(len(probabilities))
    if not rare:
        return entropy
    predicted = np.unique(probabilities.max(0).indices.cpu().numpy())
    return entropy * (sum(c not in predicted for c in rare) / len(rare) + 0.5)


def easy_and_hard(uncertain: Sequence[float], share: float) -> tuple[list[int], list[int]]:
    """Return the places of the most certain `share` of images, rounded down, and those of the others, in order.

    Of images that are equally certain the first ones are the easy ones.
    """
    ranked = sorted(range(len(uncertain)), key=lambda place: uncertain[place])
    easy = int(len(ranked) * share)
    return sorted(ranked[:easy]), sorted(ranked[easy:])


def select(probabilities: Tensor, limits: Thresholds, rule: str) -> Tensor:
    """Return the pseudo label of one image: (C, H, W) probabilities -> (H, W) uint8, 255 where not confident enough.

    CRST decides by probability relative to the thresholds, so that a rare class can win over a frequent one.
    """
    least = torch.tensor(limits, dtype=torch.float32, device=probabilities.device)
    if rule == "crst":
        ratio, classes = (probabilities / least.clamp_min(_LEAST)[:, None, None]).max(0)
        confident = ratio >= 1
    else:
        confidence, classes = probabilities.max(0)
        confident = confidence >= least[classes]
    return torch.where(confident, classes, IGNORE).to(torch.uint8)


def soft_labels(probabilities: Tensor, limits: Thresholds, label_entropy: float) -> tuple[Tensor, Tensor]:
    """Return the pseudo label of one image and its soft ones, CRST's LRENT (Zou et al. 2019, table 1).

    The least of cross-entropy less a times the label's entropy is at (p / t)^(1/a), made to add up to 1; a pixel is
    labelled where that least is below the cost of none: where those powers add up to more than 1 already.

    Args:
        probabilities: (C, H, W).
        limits: t, each class's threshold.
        label_entropy: a.

    Returns:
        The likeliest class, (H, W) uint8, 255 where there is none; and each class's share of 255, (C, H, W) uint8.
    """
    least = torch.tensor(limits, dtype=torch.float64, device=probabilities.device).clamp_min(_LEAST)
    powers = (probabilities.double().log() - least.log()[:, None, None]) / label_entropy
    shares = (255 * powers.softmax(0)).round().to(torch.uint8)
    label = torch.where(powers.logsumexp(0) > 0, powers.max(0).indices, IGNORE)
    return label.to(torch.uint8), shares
