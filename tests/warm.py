"""python warm.py [-m] PROGRAM ARGUMENTS: the program in a fork of a process that has imported torch already.

An interpreter that imports torch costs eight seconds of a core, and a test of four ranks starts five. The processes of
a launcher are as they always are, each with its own environment, signals and exit; this file, which is what it
starts, hands its own to a server that forks, waits for the fork, passes signals on, and ends as the fork does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@functools.cache
def server() -> str:
    """Start the server, once for this process and as long as it lives; returns the path of its socket."""
    path = str(Path(tempfile.mkdtemp(prefix="warm")) / "socket")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    atexit.register(process.kill)
    return path


def main() -> None:
    """Be the program, as far as whoever started this process can see."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["WARM"])
    request = json.dumps({"words": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()})
    socket.send_fds(connection, [request.encode() + b"\n"], [1, 2])
    answers = connection.makefile("r")
    child = int(answers.readline())
    for number in FORWARDED:
        signal.signal(number, lambda received, _: os.kill(child, received))
    code = int(answers.readline())
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL cannot be set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(path: str) -> None:
    """Import, then fork for every connection, until standard input ends."""
    import torch

    torch.set_num_threads(1)
    import torch._dynamo  # what an optimizer's first step imports
    import torch.distributed.run

    import cirn_dist.cli.app
    import cirn_dist.start  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _attend(connection)
        connection.close()


def _attend(connection: socket.socket) -> None:
    """Fork the program, tell its process id and its exit code; a starter that is gone takes it along."""
    data, outputs, *_ = socket.recv_fds(connection, 1 << 20, 2)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(json.loads(data), outputs)
    for output in outputs:
        os.close(output)
    connection.sendall(f"{child}\n".encode())
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if select.select([connection], [], [], 0.02)[0] and not connection.recv(1):
            os.kill(child, signal.SIGKILL)
            os._exit(1)
        time.sleep(0.01)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], outputs: list[int]) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
        os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    import torch

    torch.set_num_threads(torch.get_num_threads())  # a fork's first two users would both make the pool, and one abort
    words: list[str] = request["words"]
    code: Any = 0
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as leaving:
        code = leaving.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001 - a fork must not go on with its parent's work
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        main()
