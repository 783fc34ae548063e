from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cirn_dist.data.loading.order import Order
from cirn_dist.data.loading.plan import Plan
from cirn_dist.errors import ConfigError


def read(order: Order, first: int, last: int) -> list[int]:
    return [order.index(k) for k in range(first, last)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 2**63), st.integers(1, 5), st.integers(0, 3)
)
def test_every_epoch_is_a_permutation(sizes, seed, window, epoch):
    total = sum(sizes)
    assert sorted(read(Order(sizes, seed, window), epoch * total, (epoch + 1) * total)) == list(range(total))


def test_the_order_is_a_function_of_seed_and_k_alone():
    sizes = [5, 3, 8, 1, 7]
    straight = read(Order(sizes, 3, 2), 0, 100)
    jumping = Order(sizes, 3, 2)
    for k in np.random.default_rng(0).permutation(100).tolist():
        assert jumping.index(k) == straight[k]


def test_epochs_and_seeds_differ():
    sizes = [10] * 6
    assert read(Order(sizes, 1), 0, 60) != read(Order(sizes, 1), 60, 120)
    assert read(Order(sizes, 1), 0, 60) != read(Order(sizes, 2), 0, 60)


def test_a_window_of_shards_is_finished_before_the_next_begins():
    sizes, window = [4] * 10, 3
    order = read(Order(sizes, 7, window), 0, 40)
    for start in range(0, 40, 12):
        assert len({sample // 4 for sample in order[start : start + 12]}) <= window


def test_samples_of_a_window_are_mixed():
    order = read(Order([50] * 4, 0, 4), 0, 200)
    shards = [sample // 50 for sample in order]
    assert min(Counter(shards[:50]).values()) > 4
    # over many epochs the first place goes to every sample about as often
    firsts = Counter(Order([4, 4], 0, 2).index(epoch * 8) for epoch in range(800))
    assert len(firsts) == 8
    assert min(firsts.values()) > 60
    assert max(firsts.values()) < 140


def test_any_place_is_reached_at_once():
    order = Order([4000] * 250, 5)
    start = time.process_time()
    order.index(10**8 + 12345)
    assert time.process_time() - start < 0.05
    assert Order([3, 4], 5).index(10**15) < 7


def test_it_is_the_documented_function():
    """The order is part of what a checkpoint means: it may never change."""
    assert read(Order([2, 3, 2], 42, 2), 0, 14) == [4, 5, 6, 3, 2, 1, 0, 0, 1, 6, 5, 3, 4, 2]


TOPOLOGIES = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (8, 1), (2, 4), (1, 8)]


@pytest.mark.parametrize(("world", "micro"), TOPOLOGIES)
def test_every_topology_reads_the_same_counters_in_each_step(world, micro):
    plans = [Plan(8, world, rank, micro) for rank in range(world)]
    assert plans[0].accumulation == 8 // (world * micro)
    for step in (0, 3, 10**9):
        ks = [k for a in range(plans[0].accumulation) for plan in plans for k in plan.ks(step, a)]
        assert ks == list(range(step * 8, step * 8 + 8))


def test_a_plan_is_the_written_formula():
    plan = Plan(24, world=3, rank=2, micro_batch=2)
    for t, a, i in ((0, 0, 0), (5, 3, 1), (2, 1, 0)):
        assert plan.ks(t, a)[i] == t * 24 + a * (3 * 2) + 2 * 2 + i
    assert list(plan.batches(4, 6)) == [plan.ks(t, a) for t in (4, 5) for a in range(4)]


def test_a_world_that_does_not_divide_the_batch_is_refused_with_those_that_do():
    with pytest.raises(ConfigError, match=r"3 ranks x micro_batch 2 does not divide 16.*worlds that do: 1, 2, 4, 8"):
        Plan(16, world=3, micro_batch=2)
    with pytest.raises(ConfigError, match="fits no world"):
        Plan(4, micro_batch=3)
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        Plan(4, world=2, rank=2)
