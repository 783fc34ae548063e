"""A run as a process of its own: what ends it is one line on standard error and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cirn_dist.config.schema import Config
from cirn_dist.engine.placement import described, read_notes
from cirn_dist.engine.runtime import Runtime, lost_contact
from cirn_dist.engine.stop import StopRequest
from cirn_dist.engine.watchdog import HANG
from cirn_dist.errors import TRY_AGAIN, CirnError, Stopped
from cirn_dist.rundir.lock import RunLock
from cirn_dist.running import beginning, leaving_no_trace, mark_stopped, walk


def start(
    config: Config,
    out: Path,
    json_file: Path | None = None,
    *,
    until: str | None = None,
    deadline: float | None = None,
    allow: Sequence[str] = (),
) -> int:
    """Run the pipeline of a configuration in the folder `out`, as a process of its own that ends with it.

    Args:
        until: end after this stage; the last one unless given.
        deadline: save and end before this moment of `time.monotonic()`.
        allow: settings and data sets that may differ from those the folder was begun with.

    Returns:
        The exit code: 0 when finished or asked to stop, 130 after Ctrl-C, else the error's.
    """
    with beginning(config, out, deadline) as (runtime, stop):
        with leaving_no_trace(out, runtime), RunLock(out) as lock:
            work = partial(walk, config, out, runtime, stop, lock, json_file=json_file, until=until, allow=allow)
            code = _exit_code(work, out, runtime, stop)
        runtime.leave(code)
    return code


def _exit_code(work: Callable[[], object], out: Path, runtime: Runtime, stop: StopRequest) -> int:
    """Do the work; what ends it early is said in one line, and becomes an exit code."""
    try:
        work()
        return 0
    except Stopped as stopped:
        return _stopped(stopped, runtime)
    except CirnError as error:
        if runtime.main or not error.everywhere:
            say(error, runtime)
        return error.exit_code
    except RuntimeError as error:  # a collective that failed: another rank hangs, or has said what happened
        reason = lost_contact(error)
        if reason is None:
            raise
        if stop:  # as asked; it could not wait for the others to agree
            alone = stop.stopped(f"{reason}; what was saved is kept", str(out)).alone()
            mark_stopped(out, alone, runtime)
            return _stopped(alone, runtime)
        runtime.watchdog.dump(f"{reason}\n{''.join(traceback.format_exception(error))}")
        notes = read_notes(out / HANG)
        where = f" ({described(notes)})" if len({note.number for note in notes}) > 1 else ""
        say(f"{reason}{where}; this one's stacks are in {runtime.watchdog.path}", runtime)
        return TRY_AGAIN
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept, start again to continue", runtime)
        return 130


def say(message: object, runtime: Runtime | None = None) -> None:
    """Print one line to standard error, from the rank it concerns."""
    rank = f"[rank {runtime.rank}] " if runtime is not None and not runtime.main else ""
    print(f"{rank}cirn-dist: {message}", file=sys.stderr, flush=True)


def _stopped(stopped: Stopped, runtime: Runtime) -> int:
    """Say that the run was stopped; returns the exit code."""
    if runtime.main or not stopped.agreed:  # all ranks at once: one line is enough
        say(stopped, runtime)
    return stopped.exit_code
