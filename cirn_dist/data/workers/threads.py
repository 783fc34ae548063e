"""Mapping a function over items with threads, results in order: decoding and encoding while the network works."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Result]:
    """Yield function(item) in the items' order while threads work on up to `ahead` of the next ones.

    The items are drawn by the caller's thread, `ahead` of them before the first result: what is drawn from a network
    or a file is drawn by one thread, in order. Pillow and zlib let other threads run while they work.

    Args:
        function: its errors are raised here, in the items' order.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # what nobody will take is not begun; what is begun ends first
