"""A process that has imported everything and forks a child per start, which then dies where a test wants it to.

Starting the command line anew costs seconds of importing torch; a fork costs milliseconds, and is killed the same way.
Run as a program it is the server: one JSON request per line in, one JSON answer per line out.
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
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
    """The client: starts `cirn-dist ARGUMENTS` in children of one warm process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=environment,
        )  # fmt: skip

    def __call__(
        self, *arguments: object, run: Path | None = None, fault: Fault | None = None, trace: bool = False
    ) -> Outcome:
        """Start it and wait until it has ended; `run` is the folder whose file operations count, if any do."""
        self.count += 1
        logs = {name: str(self.folder / f"start-{self.count}.{name}") for name in ("stdout", "stderr", "trace")}
        request = {
            "arguments": [str(argument) for argument in arguments],
            "run": None if run is None else str(run),
            "fault": asdict(fault) if fault else None,
            **logs,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        code = json.loads(self._server.stdout.readline())["code"]
        stdout, stderr, operations = (Path(logs[name]).read_text("utf-8", "replace") for name in logs)
        return Outcome(code, stdout, stderr, operations.splitlines() if trace else [])

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=60)


def _serve() -> None:
    import torch

    torch.set_num_threads(1)
    import accelerate.state  # noqa: F401

    import cirn_dist.cli.app
    import cirn_dist.start  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def _run(request: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(torch.get_num_threads())  # a fork's first two users would both make the pool, and one abort
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    _inject(Fault(**request["fault"]) if request["fault"] else Fault(), request["run"], request["trace"])
    sys.argv = ["cirn-dist", *request["arguments"]]
    code: Any = 0
    try:
        from cirn_dist.cli.app import main

        main()
    except SystemExit as leaving:
        code = leaving.code or 0
    except BaseException:  # noqa: BLE001 - a fork must not go on with its parent's work
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
    _serve()
