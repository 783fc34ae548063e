"""Named randomness: reference values, uniformity, permutations."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cirn_dist.seeds import derive, permutation, splitmix64, uniforms


def test_splitmix64_gives_the_published_sequence() -> None:
    # The generator seeded with 1234567 of Vigna's reference splitmix64.c: state advances by the golden constant.
    golden, state, outputs = 0x9E3779B97F4A7C15, 1234567, []
    for _ in range(3):
        outputs.append(int(splitmix64(np.array([state], np.uint64))[0]))
        state = (state + golden) % 2**64
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_names_are_ordered_and_distinct() -> None:
    assert derive(1, "a") == derive(1, "a")
    assert len({derive(1, "a"), derive("a", 1), derive(2, "a"), derive(1, "b"), derive(1)}) == 5


def test_uniforms_are_uniform() -> None:
    drawn = uniforms(20_000, 3, "stream", 5)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, 20, (0, 1))[0]
    chi2 = ((counts - 1000) ** 2 / 1000).sum()
    assert chi2 < 45  # 19 degrees of freedom: p = 0.0007


@given(st.integers(0, 300), st.integers(0, 2**40))
def test_a_permutation_has_every_index_once(size: int, seed: int) -> None:
    assert sorted(permutation(size, seed).tolist()) == list(range(size))


def test_every_version_draws_the_same_numbers() -> None:
    """A run that is resumed by another version of this package, or of NumPy, goes on with the same samples."""
    assert derive(1, "stream", 7) == 4076573194286928392
    expected = [0.7062202463012984, 0.29083424519579604, 0.6071197808956215, 0.07670318727922276]
    assert uniforms(4, 1, "stream", 7).tolist() == expected
    assert uniforms(2, 1, "stream", 7).tolist() == expected[:2], "more draws leave the first ones as they are"
    assert permutation(8, 1, "shards", 3).tolist() == [0, 3, 7, 5, 6, 2, 1, 4]
