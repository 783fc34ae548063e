"""Taking turns at what several runs share: one makes it, the others wait and find it made."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cirn_dist.rundir.lock import RunLock, RunLocked

_LOOK_EVERY = 0.5
_TRY_EVERY = 60.0  # seconds between looks at whether a holder is alive, which can take as long


@contextmanager
def turn(folder: Path, made: Callable[[], bool], waiting: Callable[[str], None]) -> Iterator[None]:
    """Be alone in making something, or be here when another has made it.

    Args:
        folder: of the lock; made if missing.
        waiting: called again and again while another makes it, with the word of who; may raise.
    """
    with RunLock(folder) as lock:
        tried, who = -math.inf, ""
        while not made():
            if lock.free or time.monotonic() - tried > _TRY_EVERY:
                try:
                    lock.acquire()
                    break
                except RunLocked as error:
                    tried, who = time.monotonic(), error.what
            waiting(who)
            time.sleep(_LOOK_EVERY)
        yield
