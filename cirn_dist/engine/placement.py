"""Where each rank is, on the disk: of a start that ended without a word it names the rank that was behind.

NCCL aborts a process whose peer is lost, and the out-of-memory killer asks nobody: what is to be told afterwards must
have been written before. A note is a line at the start of an open file, which the kernel keeps when a process dies.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SUFFIX = ".at"
_WIDTH = 200  # bytes of a note; written in one piece


@dataclass(frozen=True, order=True)
class Note:
    """A rank's last note.

    Attributes:
        number: how many it had made; all ranks make the same ones, so that the least is of the one that is behind.
        place: stage, step and what it was doing there.
    """

    number: int
    rank: int
    place: str


class Whereabouts:
    """This rank's notes, in `rank-N.at`; a file that stays behind is of a rank that was killed or aborted."""

    def __init__(self, rank: int, folder: Path) -> None:
        self.rank, self.path = rank, folder / f"rank-{rank}{_SUFFIX}"
        self.place = self._stage_and_step = ""
        self._number = 0
        self._file: int | None = None

    def open(self) -> None:
        """Make the file."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def note(self, place: str) -> None:
        """Write where the rank has come to; all ranks make the same notes in the same order."""
        self._number += 1
        self._stage_and_step = place
        self.doing("")

    def doing(self, what: str) -> None:
        """Write what the rank does there; costs microseconds."""
        self.place = ", ".join(part for part in (self._stage_and_step, what) if part)
        if self._file is not None:
            line = json.dumps({"rank": self.rank, "note": self._number, "at": self.place[: _WIDTH // 2]})
            with contextlib.suppress(OSError):  # a full disk is not this file's to report
                os.pwrite(self._file, line.encode().ljust(_WIDTH - 1) + b"\n", 0)

    def close(self) -> None:
        """Take the file away: this rank ends with a word."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
            with contextlib.suppress(OSError):
                self.path.unlink()


def read_notes(folder: Path) -> list[Note]:
    """Return the notes of all ranks that are there, the one furthest behind first."""
    found = []
    for path in folder.glob(f"rank-*{_SUFFIX}"):
        with contextlib.suppress(OSError, ValueError, KeyError):  # nothing was noted yet, or it has just left
            content = json.loads(path.read_text(encoding="utf-8"))
            found.append(Note(content["note"], content["rank"], content["at"]))
    return sorted(found)


def described(notes: Sequence[Note]) -> str:
    """Say where ranks are, those at the same place together; the first three places."""
    places: dict[str, list[int]] = {}
    for note in notes:
        places.setdefault(note.place, []).append(note.rank)
    told = [f"rank{'s' * (len(ranks) > 1)} {_listed(ranks)} at {place}" for place, ranks in places.items()]
    return "; ".join(told[:3]) + ("; others further on" if len(told) > 3 else "")


def _listed(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return shown if len(ranks) <= 8 else f"{shown} and {len(ranks) - 8} more"


def left_behind(folder: Path) -> str | None:
    """Say where the ranks of an earlier start were that ended without a word, and forget it; None where none did."""
    notes = read_notes(folder)
    for path in folder.glob(f"rank-*{_SUFFIX}"):
        path.unlink(missing_ok=True)
    return f"the start before this one ended without a word: {described(notes)}" if notes else None
