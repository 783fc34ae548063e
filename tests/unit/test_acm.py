from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cirn_dist.models.acm import ACM


def features() -> Tensor:
    return torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0))


def module(k: int, **options: bool | int) -> ACM:
    torch.manual_seed(1)
    acm = ACM(6, 3, k, width=8, **options)
    for gate in acm.attention:
        torch.nn.init.normal_(gate[-1].weight, std=1.0)  # gates that differ, or the sum over them would prove little
    return acm


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_acm_is_the_sum_of_the_classifier_on_each_gated_feature_map(k: int, depth: int) -> None:
    acm, f = module(k, depth=depth), features()
    gates = torch.stack([gate(f).sigmoid() for gate in acm.attention])
    expected = sum(acm.classifiers[0](gate * f) for gate in gates)
    torch.testing.assert_close(acm(f), expected)
    assert len(acm.classifiers) == 1


def test_k_0_is_exactly_a_plain_classifier() -> None:
    for options in ({}, {"residual": True}, {"per_head": True}):
        acm, f = module(0, **options), features()
        assert torch.equal(acm(f), acm.classifiers[0](f))
        assert acm.gates(f).shape == (2, 0, 5, 4)
        assert all(name.startswith("classifiers.0.") for name in acm.state_dict())


def test_residual_adds_the_features_themselves() -> None:
    acm, f = module(2, residual=True), features()
    gain = 1 + acm.gates(f).sum(1, keepdim=True)
    torch.testing.assert_close(acm(f), acm.classifiers[0](f * gain))


@pytest.mark.parametrize("residual", [False, True])
def test_per_head_gives_each_gate_a_classifier(residual: bool) -> None:
    acm, f = module(3, per_head=True, residual=residual), features()
    gates = acm.gates(f)
    expected = sum(head(f * (gates[:, i : i + 1] + int(residual))) for i, head in enumerate(acm.classifiers))
    torch.testing.assert_close(acm(f), expected)
    assert len(acm.classifiers) == 3


def test_gates_are_maps_between_0_and_1_and_start_undecided() -> None:
    torch.manual_seed(0)
    gates = ACM(6, 3, 2).gates(features())
    assert gates.shape == (2, 2, 5, 4)
    assert (gates - 0.5).abs().max() < 0.02
    wild = module(2).gates(100 * features())
    assert wild.min() >= 0
    assert wild.max() <= 1


def test_every_parameter_gets_a_gradient() -> None:
    for options in ({}, {"per_head": True}, {"residual": True}):
        acm = module(2, **options)
        acm(features()).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in acm.parameters())
