"""What the logged numbers are called on the page; the name they have in metrics.jsonl stands beside it."""

from __future__ import annotations

LOSSES = {
    "seg": "segmentation",
    "adv": "adversarial",
    "weight": "weight discrepancy",
    "d": "domain discriminator",
    "pseudo": "pseudo labels",
    "kld": "confidence penalty",
    "mix": "mixed images",
    "mask": "masked target images",
    "features": "feature distance",
    "entropy": "entropy",
    "entropy_aux": "entropy, auxiliary",
    "max_square": "maximum squares",
    "robust_entropy": "robust entropy",
    "guidance": "guidance of ACM",
    "seg_aux": "segmentation, auxiliary",
    "adv_aux": "adversarial, auxiliary",
    "d_aux": "domain discriminator, auxiliary",
    "gan_s2t": "GAN, source to target",
    "gan_t2s": "GAN, target to source",
    "cycle_s": "cycle, source",
    "cycle_t": "cycle, target",
    "identity_s": "identity, source",
    "identity_t": "identity, target",
    "semantic": "semantic consistency",
    "discriminator_s": "discriminator, source",
    "discriminator_t": "discriminator, target",
}
