"""Schedules against hand-computed values."""

from __future__ import annotations

import pytest

from cirn_dist.schedule import constant_then_linear, damping, lr_factor, poly, ramped, warmup


def test_poly_is_one_minus_progress_to_the_power() -> None:
    assert poly(0, 100_000) == 1.0
    assert poly(50_000, 100_000) == pytest.approx(0.5358867312681466)  # 0.5 ** 0.9
    assert poly(100_000, 100_000) == 0.0
    assert poly(25, 100, power=2.0) == pytest.approx(0.5625)


def test_warmup_is_linear_then_one() -> None:
    assert [warmup(i, 4) for i in (0, 1, 2, 4, 9)] == [0.0, 0.25, 0.5, 1.0, 1.0]
    assert warmup(0, 0) == 1.0


def test_cyclegans_decay_is_flat_then_linear_to_zero() -> None:
    assert [constant_then_linear(i, 200) for i in (0, 99, 100, 150, 200)] == [1.0, 1.0, 1.0, 0.5, 0.0]


def test_damping_falls_with_progress() -> None:
    assert damping(25_000, 100_000) == 0.75


@pytest.mark.parametrize(
    ("rule", "optimizer", "factor"),
    [("auto", "sgd", 16), ("auto", "adam", 4), ("auto", "adamw", 4), ("none", "sgd", 1), ("sqrt", "sgd", 4)],
)
def test_learning_rate_scales_with_the_global_batch(rule: str, optimizer: str, factor: float) -> None:
    assert lr_factor(rule, optimizer, 16) == factor


def test_a_scaled_rate_grows_from_batch_ones() -> None:
    """Goyal et al. 2017, section 2.2: from eta to k eta, linearly."""
    assert [ramped(8.0, i, 100) for i in (0, 50, 100, 900)] == [1.0, 4.5, 8.0, 8.0]
    assert ramped(8.0, 0, 0) == 8.0
    assert [ramped(1.0, i, 100) for i in (0, 30, 900)] == [1.0, 1.0, 1.0]
