"""A hang is never silent: a rank that makes no progress writes every thread's stack and ends."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import IO

from cirn_dist.engine.placement import Whereabouts
from cirn_dist.errors import TRY_AGAIN

HANG = "hang"  # a run's folder of stacks, traces and notes
_TICK = 1.0
_GRACE = 5.0  # collectives are given up first: their error says more


class Watchdog:
    """Counts down while a rank is at work; at zero it writes all stacks to `hang/rank-N.txt` and ends the process.

    The stacks of an earlier start are kept as `rank-N.before.txt`.

    Args:
        folder: where stacks go, and notes of where the rank is; None writes them to standard error.
    """

    def __init__(self, rank: int, world: int, folder: Path | None) -> None:
        self.rank, self.world = rank, world
        self.path = None if folder is None else folder / f"rank-{rank}.txt"
        self._whereabouts = None if folder is None else Whereabouts(rank, folder)
        self.limit: float | None = None
        self._left = 0.0
        self._file: IO[str] = sys.stderr
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def open(self) -> None:
        """Make the file, which a crash must find open, and start counting."""
        if self.path is not None and self._whereabouts is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_file() and self.path.stat().st_size:
                os.replace(self.path, self.path.with_suffix(".before.txt"))
            self._whereabouts.open()
            self._file = self.path.open("w", encoding="utf-8")
            faulthandler.enable(self._file)  # segmentation faults, and aborts by NCCL's own watchdog
        self._thread = threading.Thread(target=self._count, name="watchdog", daemon=True)
        self._thread.start()

    def allow(self, seconds: float | None) -> None:
        """Count down from `seconds` again; None or 0 stops the count."""
        self.limit = seconds or None
        self._left = (seconds or 0.0) + _GRACE

    def note(self, place: str) -> None:
        """Note where this rank has come to: stage and step."""
        if self._whereabouts is not None:
            self._whereabouts.note(place)

    def doing(self, what: str) -> None:
        """Note what it does there, where that may last; "" when it is done."""
        if self._whereabouts is not None:
            self._whereabouts.doing(what)

    @property
    def place(self) -> str:
        """Where this rank is, in brackets; "" where nothing was noted."""
        place = "" if self._whereabouts is None else self._whereabouts.place
        return f" ({place})" if place else ""

    def dump(self, reason: str) -> None:
        """Write the reason and every thread's stack."""
        self._file.write(f"rank {self.rank} of {self.world}: {reason}\n")
        self._file.flush()
        faulthandler.dump_traceback(self._file)

    def close(self) -> None:
        """Stop counting; a file that nothing was written to is removed."""
        self._closed.set()
        if self._thread is None:
            return
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        if self.path is None or self._whereabouts is None:
            return
        self._whereabouts.close()
        faulthandler.disable()
        self._file.close()
        with contextlib.suppress(OSError):  # the folder holds other ranks' files, or is gone
            if self.path.stat().st_size == 0:
                self.path.unlink()
            self.path.parent.rmdir()

    def _count(self) -> None:
        # Ticks are counted rather than the clock read: a process that was suspended has not been hanging.
        while not self._closed.wait(_TICK):
            if self.limit is None:
                faulthandler.cancel_dump_traceback_later()
                continue
            if self.world > 1:
                # Python's threads stand still while one holds the interpreter's lock; this one is not Python's.
                faulthandler.dump_traceback_later(self.limit + 2 * _GRACE, exit=True, file=self._file)
            self._left -= _TICK
            if self._left <= 0:
                self._end(self.limit)

    def _end(self, limit: float) -> None:
        reason = f"no progress for {limit:g} s{self.place}"
        self.dump(reason)
        place = f"; stacks are in {self.path}" if self.path is not None else ""
        print(f"[rank {self.rank}] cirn-dist: {reason}{place}", file=sys.stderr, flush=True)
        os._exit(TRY_AGAIN)


def record_collectives(folder: Path) -> None:
    """Let NCCL's flight recorder write the last collectives of every rank below `folder` on a timeout.

    `torchfrtrace` reads them. What the user's environment says stays.
    """
    trace = str(folder / "nccl-rank-")
    defaults = {
        "TORCH_FR_BUFFER_SIZE": "2000",
        "TORCH_FR_DUMP_TEMP_FILE": trace,
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
    }
    if tuple(int(part) for part in version("torch").split(".")[:2]) < (2, 9):  # newer ones warn of the old names
        defaults |= {"TORCH_NCCL_TRACE_BUFFER_SIZE": "2000", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE": trace}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
