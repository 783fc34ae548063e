"""Dealing a set's shards to ranks, whole or in pieces: what is dealt, and how long ranks wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cirn_dist.stages.pieces import in_pieces, longest, pieces_of


@given(start=st.integers(0, 1000), size=st.integers(0, 300), batch=st.integers(1, 40))
def test_pieces_are_the_shard_in_whole_batches(start: int, size: int, batch: int) -> None:
    pieces = pieces_of(start, size, batch)
    assert [index for piece in pieces for index in piece] == list(range(start, start + size))
    assert all(len(piece) % batch == 0 for piece in pieces[:-1])
    assert all(len(piece) >= 8 for piece in pieces[:-1])


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=30), world=st.integers(1, 12))
def test_ranks_wait_for_the_longest_of_every_lap(sizes: list[int], world: int) -> None:
    clock, dealt = 0, list(sizes)
    while dealt:
        lap, dealt = dealt[:world], dealt[world:]
        clock = max(clock + size for size in lap)
    assert longest(sizes, world) == clock


@pytest.mark.parametrize(
    ("what", "sizes", "world", "whole", "dealt"),
    [
        ("pseudo labels of Cityscapes at 1280x640, PNG", [100] * 29 + [75], 64, 100, 56),
        ("the same as JPEG", [400] * 7 + [175], 64, 400, 48),
        ("the CIR of GTA5, PNG", [100] * 249 + [66], 64, 400, 400),
        ("one shard", [2975], 8, 2975, 376),
    ],
)
def test_many_ranks_do_not_wait_for_the_few_that_have_a_shard(
    what: str, sizes: list[int], world: int, whole: int, dealt: int
) -> None:
    pieces = [len(piece) for size in sizes for piece in pieces_of(0, size, 8)]
    assert longest(sizes, world) == whole, what
    assert in_pieces(sizes, 8, world) == (whole > 1.25 * dealt)
    if in_pieces(sizes, 8, world):
        assert longest(pieces, world) == dealt


def test_one_rank_and_nothing_left_have_nothing_to_deal() -> None:
    assert not in_pieces([500], 8, 1)
    assert not in_pieces([], 8, 64)
