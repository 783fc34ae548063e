"""Asking a run to stop: a signal, a STOP file or the end of its time sets a flag; the ranks agree at the end of a step.

A run that stopped before its end leaves PREEMPTED in its folder, since it exits 0 as a finished one does: a batch
script that sees it asks for the run again. The STOP file goes when the run it stopped has saved, so that the next
start is not stopped by it; one that is there before a start stops that start.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from cirn_dist.errors import INTERRUPT, Stopped

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
STOP, PREEMPTED = "STOP", "PREEMPTED"

# Launchers pass on the Ctrl-C that the terminal has already sent: two in a moment are one.
_ONE_PRESS = 1.0
_LOOK_EVERY = 1.0


class StopRequest:
    """Whether this rank was asked to stop: by a signal while this context is open, by a file, or by its time.

    A second Ctrl-C does not wait for the end of the step; what was saved is safe then too. Other signals only say
    again what the first said.

    Args:
        file: a path whose existence is a request; looked at once a second.
        deadline: when the run must have ended, in `time.monotonic()` seconds; never, unless given.
    """

    def __init__(self, file: Path, *, deadline: float | None = None) -> None:
        self.file, self.deadline = file, deadline
        self.reason: str | None = None
        # Until a save has been timed: a tenth of the time that is left, a minute at most.
        self._reserve = 0.0 if deadline is None else min(60.0, 0.1 * max(0.0, deadline - time.monotonic()))
        self._looked = self._interrupted = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # no other may catch signals
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            self.reason = self.reason or signal.Signals(number).name
            return
        now = time.monotonic()
        if self.reason == INTERRUPT and now - self._interrupted > _ONE_PRESS:
            raise KeyboardInterrupt
        self.reason, self._interrupted = INTERRUPT, now

    def took(self, seconds: float) -> None:
        """Take note of how long a save took: the deadline leaves room for one of twice the longest."""
        self._reserve = max(self._reserve, 2 * seconds)

    @property
    def notice(self) -> str:
        """What to tell someone who watches, "" while there is no request."""
        if self.reason is None:
            return ""
        again = "; once more does not wait" if self.reason == INTERRUPT else ""
        return f"{self.reason}: stopping once what is done is saved{again}"

    def stopped(self, what: str, where: str, others: Sequence[str] = ()) -> Stopped:
        """Return what to raise; `others` are the reasons of other ranks. A Ctrl-C among them all is the reason."""
        reasons = [*([self.reason] if self.reason else []), *others]
        return Stopped(what, where, INTERRUPT if INTERRUPT in reasons else reasons[0])

    def __bool__(self) -> bool:
        if self.reason is not None:
            return True
        now = time.monotonic()
        if self.deadline is not None and now >= self.deadline - self._reserve:
            self.reason = "--max-minutes"
        elif now - self._looked > _LOOK_EVERY:
            self._looked = now
            if self.file.exists():
                self.reason = STOP
        return self.reason is not None
