"""What is compared over ranks, with a second rank that says what the test wants; over real ones see tests/dist."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from cirn_dist.engine.players import DdpPlayer
from cirn_dist.engine.replicas import assert_replicas_equal, assert_same_facts, checksum
from cirn_dist.engine.runtime import Runtime
from cirn_dist.errors import ConfigError, TrainingError


class TwoRanks(Runtime):
    """Rank 0 of two; what rank 1 would say is set by the test."""

    other: Any

    def gather(self, item: Any) -> list[Any]:
        return [item, self.other]


@pytest.fixture
def runtime() -> TwoRanks:
    found = TwoRanks(torch.device("cpu"), "fp32")
    found.world = 2
    return found


def test_other_data_on_another_rank_is_named(runtime: TwoRanks) -> None:
    runtime.other = {"data.source": "aa", "data.target": "cc"}
    with pytest.raises(
        ConfigError, match=r"rank 1 differs in data: data\.target is 'bb' on rank 0, 'cc' there"
    ) as info:
        assert_same_facts(runtime, {"data.source": "aa", "data.target": "bb"}, "data")
    assert info.value.everywhere, "one line, though every rank raises it"
    runtime.other = {"data.source": "aa"}
    with pytest.raises(ConfigError, match=r"data\.target is 'bb' on rank 0, None there"):
        assert_same_facts(runtime, {"data.source": "aa", "data.target": "bb"}, "data")
    assert_same_facts(runtime, runtime.other, "data")


def test_the_first_component_that_differs_is_named(runtime: TwoRanks) -> None:
    nets = {name: nn.Linear(3, 3) for name in ("generator", "critic", "judge")}
    runtime.world = 1  # two ranks have no process group here
    parameters = [p for net in nets.values() for p in net.parameters()]
    player = DdpPlayer("all", nets, lambda: torch.optim.SGD(parameters, 0.1), lambda i: 1.0, runtime)
    runtime.world = 2
    others = copy.deepcopy(nets)
    for name in ("critic", "judge"):
        others[name].bias.data[0] += 1e-7
    runtime.other = [int(checksum(net)) for net in others.values()]
    with pytest.raises(TrainingError, match="adapt, iteration 8: critic is not the same on all ranks: rank 1 differs"):
        assert_replicas_equal({"all": player}, runtime, "adapt, iteration 8")
    runtime.other = [int(checksum(net)) for net in nets.values()]
    assert_replicas_equal({"all": player}, runtime, "adapt, iteration 8")
