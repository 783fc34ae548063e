"""Mapping a function over items with worker processes, results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from cirn_dist.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int = 4
) -> Iterator[Result]:
    """Yield function(item) in the items' order; with workers <= 1, in this process.

    Args:
        function: picklable; its exceptions are raised here.
        items: picklable, taken lazily.
        workers: processes, started as the platform does by default, as torch's loader starts its own. What they run
            uses neither torch nor a GPU, so a fork of a process that does is safe.
        ahead: items in flight per worker, so that a slow reader keeps memory small.

    Raises:
        DataError: a worker was killed, by the out-of-memory killer as a rule.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(workers, initializer=_start_worker)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= workers * ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise DataError("a worker process was killed", fix="use fewer workers, or more memory") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C and SIGUSR1 to the parent, and end with it: after kill -9 no worker may linger."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # how the pool ends its workers; a fork has the parent's handler
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
