"""Files that another rank has written: looked for until they are seen, since a network file system shows them late.

NFS keeps for up to a minute (its acdirmax) that a name was not there when it was last looked for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from cirn_dist.engine.runtime import Runtime
from cirn_dist.errors import DataError

T = TypeVar("T")

_PATIENCE = 90.0  # seconds
_LOOK_EVERY = 0.25


def await_files(runtime: Runtime, files: Iterable[Path], patience: float = _PATIENCE) -> None:
    """Wait until all ranks see files that are there for one of them; on all ranks.

    Raises:
        DataError: one of them does not, on all ranks.
    """
    if runtime.world == 1:
        return
    problem: DataError | None = None
    try:
        for file in files:
            seen(partial(_there, file), file, patience)
    except DataError as error:
        problem = error
    found = [one for one in runtime.gather(problem) if one is not None]
    if found:
        raise found[0].on_all_ranks()


def seen(look: Callable[[], T | None], file: Path, patience: float = _PATIENCE) -> T:
    """Return what `look` finds of a file that another rank has written, once it finds it.

    Raises:
        DataError: it has not found it in so many seconds.
    """
    deadline = time.monotonic() + patience
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise DataError(
                f"another rank has written it, and {socket.gethostname()} has not seen it in {patience:g} s",
                where=file,
                fix="put the run's folder where all machines of the run see the same files",
            )
        time.sleep(_LOOK_EVERY)
        with contextlib.suppress(OSError):
            os.listdir(file.parent)  # asked for the folder, a network file system looks again
    return found


def _there(file: Path) -> bool | None:
    return file.exists() or None
