"""What may come of a hostile input: it is refused in one line, or what is made of it is right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cirn_dist.errors import CirnError

REFUSED, RIGHT = "refused", "right"
Kind = Callable[[Path, random.Random], str]


class Fault(Exception):
    """What may not come of any input."""


@contextmanager
def refusing() -> Iterator[list[str]]:
    """Note that what is done was refused by the project's own error, in one line."""
    outcome: list[str] = []
    try:
        yield outcome
    except CirnError as error:
        if "\n" in str(error) or "\x1b" in str(error):
            raise Fault(f"the error is more than a line, or commands the terminal: {error!s}") from error
        outcome.append(REFUSED)
    else:
        outcome.append(RIGHT)
