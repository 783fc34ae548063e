"""The model of a step's time, against numbers worked out by hand; and the medians it is fed with."""

from __future__ import annotations

import pytest

from cirn_dist.engine.traffic import union
from cirn_dist.errors import ConfigError
from cirn_dist.measure.ring_model import Link, Work, all_reduce, exposed, predict, ring, smallest_batch
from cirn_dist.measure.scaling import Scaling, bench_scale, summary
from cirn_dist.rundir.metrics import metrics

MIB = 2**20


def test_a_ring_sends_each_gradient_twice_less_a_share() -> None:
    link = Link(bandwidth=10e9, latency=10e-6)
    assert ring(1, 1e9, link) == 0
    # 2 * 3 messages of 25 MB: 2.5 ms each, and 10 us to start
    assert ring(4, 100e6, link) == pytest.approx(6 * (2.5e-3 + 10e-6))
    assert ring(256, 100e6, Link(10e9, 0.0)) == pytest.approx(2 * 255 / 256 * 10e-3)


def test_nodes_reduce_inside_and_then_among_each_other() -> None:
    inside, between = Link(100e9, 0.0), Link(10e9, 1e-3)
    # 240 MB in a ring of 8: 2 * 7/8 * 2.4 ms; between 2 nodes: 2 * 1/2 * 24 ms, and 2 messages of 1 ms
    assert all_reduce(16, 8, 240e6, inside, between) == pytest.approx(4.2e-3 + 24e-3 + 2e-3)
    assert all_reduce(8, 8, 240e6, inside, between) == pytest.approx(4.2e-3)
    assert all_reduce(4, 8, 240e6, inside, between) == pytest.approx(2 * 3 / 4 * 2.4e-3)
    assert all_reduce(4, 1, 240e6, inside, between) == pytest.approx(2 * 3 / 4 * 24e-3 + 6e-3)


def test_backward_hides_all_but_the_last_bucket_at_most() -> None:
    assert exposed(0.100, 100 * MIB, backward=0.030) == pytest.approx(0.070)
    assert exposed(0.100, 100 * MIB, backward=0.200) == pytest.approx(0.025), "one of four buckets of 25 MiB"
    assert exposed(0.100, 3 * MIB, backward=0.200) == pytest.approx(0.100), "one bucket: nothing to hide behind"
    assert exposed(0.0, 100 * MIB, backward=0.0) == 0


def test_a_prediction_by_hand() -> None:
    work = Work(image=0.3, bytes=100 * MIB, backward=2 / 3, overlap=0.5)
    link = Link(1e9, 0.0)
    alone = predict(work, 1, 16, 8, link, link)
    assert (alone.compute, alone.reduce, alone.exposed, alone.efficiency) == (pytest.approx(4.8), 0, 0, 1)
    found = predict(work, 8, 16, 8, link, link)
    reduce = 2 * 7 / 8 * 100 * MIB / 1e9  # 183.5 ms, of which 0.5 * 2/3 * 300 = 100 ms are hidden
    assert found.compute == pytest.approx(0.6)
    assert found.reduce == pytest.approx(reduce)
    assert found.exposed == pytest.approx(reduce - 0.1)
    assert found.speed == pytest.approx(16 / (0.6 + reduce - 0.1))
    assert found.efficiency == pytest.approx(0.6 / (0.6 + reduce - 0.1))
    with pytest.raises(ValueError, match="3 ranks do not divide 16"):
        predict(work, 3, 16, 8, link, link)


def test_the_batch_grows_to_the_next_multiple_of_the_world() -> None:
    assert [smallest_batch(ranks, 12) for ranks in (1, 4, 8, 64)] == [12, 12, 16, 64]


def test_time_under_way_counts_overlapping_reductions_once() -> None:
    assert union([(0.0, 2.0), (1.0, 3.0), (1.5, 2.5), (5.0, 6.0)]) == pytest.approx(4.0)
    assert union([]) == 0


def test_what_runs_logged_becomes_medians_efficiency_and_the_model() -> None:
    def lines(*steps: float, **costs: float) -> list:
        return [metrics(i, i, 0.0, {}, costs={"step_s": s, "data_s": 0.1} | costs) for i, s in enumerate(steps)]

    one = summary(1, 4, lines(2.1, 9.0, 2.0, trainable_bytes=8e6))
    two = summary(2, 4, lines(1.5, 1.4, 1.6, trainable_bytes=8e6, reduced_bytes=8e6, reduce_s=0.4, exposed_s=0.3))
    assert (one.step, one.data, one.reduce, one.reduced) == (2.1, 0.1, 0.0, 0)
    assert (two.step, two.exposed, two.reduced) == (1.5, 0.3, 8_000_000)
    found = Scaling("machine", "adapt", (one, two), threads=1)
    assert found.work == Work(image=pytest.approx(0.5), bytes=8_000_000)  # (2.1 - 0.1) / 4
    assert found.efficiency(two) == pytest.approx(2.1 / 1.5 / 2)
    assert found.local.bandwidth == pytest.approx(8e6 / 0.4)  # 2 * 1/2 of the bytes
    model = found.model(two)
    assert (model.compute, model.reduce) == (pytest.approx(1.0), pytest.approx(0.4))
    assert model.speed == pytest.approx(4 / (1.0 + 0.4)), "8 MB are one bucket, which cannot hide"
    assert Scaling("machine", "adapt", (one,), threads=1).model(one) is None


@pytest.mark.parametrize(
    ("asked", "message"), [({"stage": "render"}, "one of: source, translate, adapt"), ({"ranks": ()}, "at least one")]
)
def test_what_cannot_be_measured_is_refused(asked: dict, message: str, tmp_path) -> None:
    with pytest.raises(ConfigError, match=message):
        bench_scale("smoke", [], tmp_path, **asked)
    assert not list(tmp_path.iterdir())
