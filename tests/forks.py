"""The command line in a fork of a warm process, which dies where a test wants it to.

Run as a program it is what is forked: the command line, in which a fault is to happen.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import warm

ROOT = Path(__file__).parents[1]
_FILE_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


@dataclass(frozen=True)
class Fault:
    """What happens to a start.

    Args:
        where: a regular expression on "operation path" of a file operation in the run's folder, e.g. "rename .*state";
            the operations are read, write (opening for either), rename, link, remove, mkdir, rmdir and rmtree.
        nth: which of the matching operations, from 0.
        kind: `kill` (SIGKILL), or the name of the error number that the operation fails with.
        after: instead, seconds after which the process is killed.
        clock: the time of day runs backwards.
    """

    where: str = ""
    nth: int = 0
    kind: str = "kill"
    after: float | None = None
    clock: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a start ended: exit code, -9 when killed; what it printed; the file operations it made, if traced."""

    code: int
    stdout: str
    stderr: str
    operations: list[str] = field(default_factory=list)


class Starts:
    """Starts `cirn-dist ARGUMENTS` in forks of the warm process, and lets a fault happen to them.

    Args:
        folder: where what they print and do is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def __call__(
        self, *arguments: object, run: Path | None = None, fault: Fault | None = None, trace: bool = False
    ) -> Outcome:
        """Start it and wait until it has ended; `run` is the folder whose file operations count, if any do."""
        self.count += 1
        logs = [self.folder / f"start-{self.count}.{name}" for name in ("stdout", "stderr", "trace")]
        request = {
            "run": None if run is None else str(run),
            "fault": asdict(fault) if fault else {},
            "trace": str(logs[2]),
        }
        with logs[0].open("wb") as stdout, logs[1].open("wb") as stderr:  # a killed start's workers would hold pipes
            done = subprocess.run(
                [sys.executable, warm.__file__, __file__, json.dumps(request), *map(str, arguments)],
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WARM": warm.server()},
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False,
            )  # fmt: skip
        printed, complained, operations = (log.read_text("utf-8", "replace") for log in logs)
        return Outcome(done.returncode, printed, complained, operations.splitlines() if trace else [])


def _start() -> None:
    """Be the command line, with the fault of the request in the first argument."""
    from cirn_dist.cli.app import main

    request = json.loads(sys.argv[1])
    sys.argv = ["cirn-dist", *sys.argv[2:]]
    _inject(Fault(**request["fault"]), request["run"], request["trace"])
    main()


def _inject(fault: Fault, run: str | None, trace: str) -> None:
    """Watch the file operations of this process, and let the fault happen."""
    if fault.clock:
        zero, began = time.time(), time.monotonic()
        time.time = lambda: zero - 100 * (time.monotonic() - began)
    if fault.after is not None:
        timer = threading.Timer(fault.after, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    log = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if run is None:
        return
    pattern = re.compile(fault.where) if fault.where else None
    seen = [0]
    one_at_a_time = threading.Lock()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _FILE_EVENTS:
            return
        path = str(arguments[0])
        if not path.startswith(run):
            return
        name = event.removeprefix("os.").removeprefix("shutil.")
        if event == "open":
            name = "write" if arguments[2] & (os.O_WRONLY | os.O_RDWR) else "read"
        operation = f"{name} {path[len(run) + 1 :]}"
        os.write(log, f"{operation}\n".encode())
        if pattern is None or not pattern.search(operation):
            return
        with one_at_a_time:
            now, seen[0] = seen[0], seen[0] + 1
        if now != fault.nth:
            return
        if fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        import errno

        number = getattr(errno, fault.kind)
        raise OSError(number, os.strerror(number), path)

    sys.addaudithook(hook)


if __name__ == "__main__":
    _start()
