"""Exact sums: integers, whose sum no order changes, and what cannot be summed is not stepped with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cirn_dist.engine.exact import LARGEST, RESOLUTION, ExactPlayer
from cirn_dist.engine.join import join
from cirn_dist.engine.step import Batch, Pass, train_step


def stepped(inputs: list[Tensor]) -> tuple[Tensor, list[str]]:
    """Return what one step of rate 1 from zero weights does: minus the mean gradient, and who was skipped."""
    net = nn.Linear(inputs[0].shape[1], 1, bias=False)
    nn.init.zeros_(net.weight)
    runtime = join("fp32", backend="exact")
    player = ExactPlayer("a", {"a": net}, lambda: torch.optim.SGD(net.parameters(), 1.0), lambda i: 1.0, runtime)

    def linear(batch: Batch, iteration: int) -> Iterator[Pass]:
        yield Pass({"linear": player("a", batch["x"]).sum()})  # its gradient is x

    result = train_step({"a": player}, ["a"], linear, [{"x": x} for x in inputs], 0, runtime)
    return -net.weight.detach().flatten(), result.skipped


def test_it_is_the_mean_of_gradients_rounded_to_the_resolution() -> None:
    x = torch.randn(3, 1, 50, generator=torch.Generator().manual_seed(0)) * torch.logspace(-12, 3, 50)
    found, skipped = stepped(list(x))
    units = [[round(float(g) / RESOLUTION) for g in image[0]] for image in x.double().numpy()]  # Python's own integers
    expected = np.array([sum(column) for column in zip(*units, strict=True)], np.float64) * (RESOLUTION / 3)
    np.testing.assert_array_equal(found.numpy(), expected.astype(np.float32))
    assert skipped == []


def test_no_order_of_the_micro_batches_changes_a_bit() -> None:
    x = torch.randn(4, 1, 1000, generator=torch.Generator().manual_seed(1))
    first, *others = (stepped([x[i] for i in order])[0] for order in itertools.permutations(range(4)))
    assert all(torch.equal(first, other) for other in others)
    plain = {tuple(sum(x[i, 0] for i in order).tolist()) for order in itertools.permutations(range(4))}
    assert len(plain) > 1, "in floating point it does"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2 * LARGEST])
def test_what_cannot_be_summed_is_not_stepped_with(bad: float) -> None:
    found, skipped = stepped([torch.ones(1, 3), torch.tensor([[1.0, bad, 1.0]])])
    assert skipped == ["a"]
    assert not found.any()
    found, skipped = stepped([torch.ones(1, 3), torch.tensor([[1.0, LARGEST / 2, 1.0]])])
    assert skipped == []
    assert found.tolist() == [1.0, LARGEST / 4 + 0.5, 1.0]
