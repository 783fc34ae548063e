"""Learning rates and loss weights as pure functions of the iteration.

A scheduler object counts its own calls, so gradient accumulation, another number of ranks or a resumed run change
what it computes. A function of the iteration cannot.
"""

from __future__ import annotations

import math
from typing import get_args

from cirn_dist.choices import LrScaling, Optimizer

OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)


def warmup(iteration: int, length: int) -> float:
    """Return the linear ramp from 0 to 1 over `length` iterations (CLAN's PREHEAT); 1 where length is 0."""
    return min(1.0, iteration / length) if length > 0 else 1.0


def poly(iteration: int, total: int, power: float = 0.9) -> float:
    """Return (1 - i/N)^power, the segmentation networks' decay (DeepLab-v2, section 4.1)."""
    return math.pow(max(0.0, 1.0 - iteration / total), power)


def constant_then_linear(iteration: int, total: int, constant_share: float = 0.5) -> float:
    """Return 1 for the first share of the run, then fall linearly to 0 (CycleGAN, section 7.1)."""
    start = total * constant_share
    if iteration < start:
        return 1.0
    return max(0.0, (total - iteration) / max(1.0, total - start))


def damping(iteration: int, total: int) -> float:
    """Return 1 - i/N, the factor of CLAN's adversarial and weight-discrepancy terms."""
    return 1.0 - iteration / total


def lr_factor(scaling: LrScaling, optimizer: Optimizer, images_per_step: int) -> float:
    """Return what a batch-1 learning rate is multiplied by when a step averages B images' gradients.

    `auto` is linear for SGD (Goyal et al. 2017) and square root for Adam (Malladi et al. 2022).
    """
    rule = ("linear" if optimizer == "sgd" else "sqrt") if scaling == "auto" else scaling
    return {"none": 1.0, "sqrt": math.sqrt(images_per_step), "linear": float(images_per_step)}[rule]


def ramped(factor: float, iteration: int, length: float) -> float:
    """Return the factor of a scaled rate on its way from 1, batch 1's rate, to `factor` over `length` iterations.

    Goyal et al. 2017 (section 2.2) find that linear scaling fails without it.
    """
    return 1.0 + (factor - 1.0) * min(1.0, iteration / length) if length > 0 else factor
