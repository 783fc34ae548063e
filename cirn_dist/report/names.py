"""What the logged numbers are called on the page; the name they have in metrics.jsonl stands beside it."""

from __future__ import annotations

LOSSES = {
    "seg": "segmentation",
    "adv": "adversarial",
    "weight": "weight discrepancy",
    "d": "domain discriminator",
    "pseudo": "pseudo labels",
    "kld": "confidence penalty",
    "entropy": "entropy",
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
