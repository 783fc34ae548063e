"""Every loss of the paper, one function per equation, and those of the field's other methods.

A batch of N images costs the mean of N single-image losses, so that the paper's batch of one keeps its meaning at any
batch size and on any number of ranks. All arithmetic is float32 or wider, also under autocast: a discriminator's
gradient per pixel is near float16's subnormals, and log(1 - sigmoid(12)) is infinite there.
"""

from cirn_dist.losses.adversarial import (
    adversarial_discriminator,
    adversarial_segmenter,
    cosine_distance,
    pixel_weights,
    self_information,
    weight_discrepancy,
)
from cirn_dist.losses.pixels import IGNORE, sum_of
from cirn_dist.losses.supervision import (
    confidence_penalty,
    feature_distance,
    segmentation,
    soft_supervision,
    supervision,
    unlabelled_entropy,
    weighted_supervision,
)
from cirn_dist.losses.target import entropy, guidance, max_square, robust_entropy
from cirn_dist.losses.translation import cycle, gan, gan_discriminator, semantic_consistency

__all__ = [
    "IGNORE",
    "adversarial_discriminator",
    "adversarial_segmenter",
    "confidence_penalty",
    "cosine_distance",
    "cycle",
    "entropy",
    "feature_distance",
    "gan",
    "gan_discriminator",
    "guidance",
    "max_square",
    "pixel_weights",
    "robust_entropy",
    "segmentation",
    "self_information",
    "semantic_consistency",
    "soft_supervision",
    "sum_of",
    "supervision",
    "unlabelled_entropy",
    "weight_discrepancy",
    "weighted_supervision",
]
