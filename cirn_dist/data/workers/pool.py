"""Mapping a function over items with worker processes, results in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cirn_dist.data.workers.feed import Feed

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Mapped(Generic[Item, Result]):
    function: Callable[[Item], Result]
    every: Sequence[Item]

    def __len__(self) -> int:
        return len(self.every)

    def items(self) -> Iterator[Item]:
        return iter(self.every)

    def read(self, item: Item) -> Result:
        return self.function(item)


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    *,
    waiting: Callable[[], Any] | None = None,
) -> Iterator[Result]:
    """Yield function(item) in the items' order; with workers <= 1, in this process.

    Args:
        function: picklable, as items and results are; its errors are raised here.
        workers: processes.
        waiting: called every second in which no result comes; what it raises ends the workers.

    Raises:
        DataError: a worker was killed, by the out-of-memory killer as a rule.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    with Feed(_Mapped(function, list(items)), workers, setting="workers") as results:
        for _ in range(len(results)):
            while not results.ready(1.0):
                if waiting is not None:
                    waiting()
            yield next(results)


def processors() -> int:
    """Return how many processors this process may use: a scheduler gives it a part of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
