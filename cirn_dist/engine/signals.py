"""Asking a run to stop: a signal or a STOP file sets a flag; the ranks agree at the end of a step."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from cirn_dist.errors import CirnError

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Stopped(CirnError):
    """The run was asked to stop and has saved; started again it continues. After Ctrl-C it exits 130, else 0."""

    def __init__(self, what: str, where: str, interrupted: bool) -> None:
        super().__init__(what, where=where, fix="start again to continue")
        self.interrupted = interrupted
        self.exit_code = 130 if interrupted else 0

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, str, bool]]:
        return Stopped, (self.what, str(self.where), self.interrupted)


class StopRequest:
    """Whether this rank was asked to stop: by a signal while this context is open, or by a file.

    A second Ctrl-C does not wait for the end of the step; what was saved is safe then too.

    Args:
        file: a path whose existence is a request; looked at once a second.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.received: signal.Signals | None = None
        self._looked = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    @property
    def interrupted(self) -> bool:
        """Whether the request was Ctrl-C."""
        return self.received is signal.SIGINT

    def __bool__(self) -> bool:
        now = time.monotonic()
        if self.received is None and now - self._looked > 1.0:
            self._looked = now
            if self.file.exists():
                self.received = signal.SIGTERM
        return self.received is not None
