"""A file that another rank has written is waited for, with an end; the ranks then agree on what they see."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cirn_dist.engine.shared_files import await_files, seen
from cirn_dist.errors import DataError


@dataclass
class Ranks:
    """This rank, and what the other one says."""

    world: int = 2
    other: Any = None
    said: list[Any] = field(default_factory=list)

    def gather(self, item: Any) -> list[Any]:
        self.said.append(item)
        return [item, self.other]


def test_a_file_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    late, ranks = tmp_path / "late", Ranks()
    timer = threading.Timer(0.6, late.touch)
    timer.start()
    began = time.monotonic()
    await_files(ranks, [tmp_path, late], patience=30)  # type: ignore[arg-type]
    assert late.exists()
    assert 0.5 < time.monotonic() - began < 20
    assert ranks.said == [None]


def test_what_never_comes_is_told_on_all_ranks_with_the_place(tmp_path: Path) -> None:
    ranks, file = Ranks(), tmp_path / "index.json"
    with pytest.raises(DataError, match=r"index\.json: another rank has written it.*where all machines") as caught:
        await_files(ranks, [file], patience=0.3)  # type: ignore[arg-type]
    assert caught.value.everywhere
    with pytest.raises(DataError, match="told by the other"):
        await_files(Ranks(other=DataError("told by the other")), [tmp_path])  # type: ignore[arg-type]


def test_one_rank_waits_for_nothing(tmp_path: Path) -> None:
    await_files(Ranks(world=1), [tmp_path / "never"])  # type: ignore[arg-type]


def test_what_is_found_is_returned_and_may_be_more_than_a_file(tmp_path: Path) -> None:
    answers = iter([None, None, {"token": "new"}])  # a size that is remembered, a record of before
    assert seen(lambda: next(answers), tmp_path / "record", patience=30) == {"token": "new"}
