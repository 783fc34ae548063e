"""Ranks that end without a word are named afterwards, by notes that outlive them: the one furthest behind first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from cirn_dist.engine.placement import Whereabouts, described, left_behind, read_notes

RANK = """
import os, sys
from pathlib import Path
from cirn_dist.engine.placement import Whereabouts
rank, notes = int(sys.argv[1]), int(sys.argv[2])
here = Whereabouts(rank, Path(sys.argv[3]))
here.open()
for step in range(notes):
    here.note(f"adapt, step {step}")
here.doing("reducing the segmenter's gradients")
os.kill(os.getpid(), 9)
"""


def killed(folder: Path, rank: int, notes: int) -> None:
    """A rank that is killed in the middle of a step, as NCCL's watchdog and the out-of-memory killer do it."""
    done = subprocess.run([sys.executable, "-c", RANK, str(rank), str(notes), str(folder)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_of_killed_ranks_the_one_that_was_behind_is_named_first(tmp_path: Path) -> None:
    for rank, notes in ((0, 3), (1, 2), (2, 3)):
        killed(tmp_path, rank, notes)
    assert [(note.rank, note.number) for note in read_notes(tmp_path)] == [(1, 2), (0, 3), (2, 3)]
    doing = "reducing the segmenter's gradients"
    assert left_behind(tmp_path) == (
        f"the start before this one ended without a word: rank 1 at adapt, step 1, {doing}; "
        f"ranks 0, 2 at adapt, step 2, {doing}"
    )
    assert left_behind(tmp_path) is None, "told once"


def test_a_rank_that_ends_with_a_word_leaves_no_note(tmp_path: Path) -> None:
    here = Whereabouts(0, tmp_path)
    here.open()
    here.note("source, step 0")
    assert read_notes(tmp_path)
    here.close()
    assert left_behind(tmp_path) is None
    here.note("after it was closed")
    assert not any(tmp_path.iterdir())


def test_a_note_is_replaced_in_one_piece_however_long_it_was(tmp_path: Path) -> None:
    here = Whereabouts(3, tmp_path)
    here.open()
    here.note("x" * 1000)
    here.note("adapt, step 7")
    (note,) = read_notes(tmp_path)
    assert (note.rank, note.number, note.place) == (3, 2, "adapt, step 7")
    here.close()


def test_an_unfinished_note_is_passed_over(tmp_path: Path) -> None:
    killed(tmp_path, 0, 1)
    (tmp_path / "rank-1.at").touch()
    (tmp_path / "rank-2.at").write_bytes(b'{"rank": 2, "no')
    assert [note.rank for note in read_notes(tmp_path)] == [0]
    assert left_behind(tmp_path) is not None
    assert not any(tmp_path.iterdir())


def test_a_thousand_ranks_are_told_in_a_line(tmp_path: Path) -> None:
    for rank in range(1000):
        os.close(os.open(tmp_path / f"rank-{rank}.at", os.O_CREAT))
        at = min(rank, 4)
        (tmp_path / f"rank-{rank}.at").write_text(f'{{"rank": {rank}, "note": {at + 1}, "at": "adapt, step {at}"}}')
    told = described(read_notes(tmp_path))
    assert told == "rank 0 at adapt, step 0; rank 1 at adapt, step 1; rank 2 at adapt, step 2; others further on"
