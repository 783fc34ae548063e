"""Verbs that several processes do together, under the same launchers as a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cirn_dist.engine.join import join
from cirn_dist.engine.runtime import Runtime
from cirn_dist.errors import CirnError


@contextmanager
def together() -> Iterator[Runtime]:
    """Meet the other ranks, alone where there is no launcher; with several ranks the process ends with the block.

    An error that all ranks have is said by one of them.
    """
    runtime = join("fp32")  # a trained network computes in its own precision
    code = 0
    try:
        yield runtime
    except CirnError as error:
        if runtime.main or not error.everywhere:
            raise
        sys.exit(error.exit_code)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
        if runtime.world == 1:
            raise
    if runtime.world > 1:
        runtime.leave(code)
