"""Two runs on one folder: the second is refused; the dead do not hold a lock; no clock is trusted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from faults_run import Undisturbed
from forks import Fault, Starts

from cirn_dist.rundir import lock as lock_module
from cirn_dist.rundir.lock import Holder, RunLock, RunLocked

pytestmark = pytest.mark.timeout(900)  # the undisturbed run counts to the first of them


def leave_lock(folder: Path, holder: Holder, number: int = 1) -> Path:
    path = folder / f".lock-{number:06d}"
    path.write_text(json.dumps(asdict(holder)), encoding="utf-8")
    return path


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_second_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with RunLock(tmp_path) as first:
        first.acquire()
        first.assert_held()
        with pytest.raises(RunLocked, match=f"process {os.getpid()} on .* is working in it"):
            RunLock(tmp_path).acquire()
        assert names(tmp_path) == [".lock-000001"], "the refused one leaves nothing"
    assert names(tmp_path) == []
    with RunLock(tmp_path) as again:
        again.acquire()


@pytest.mark.parametrize("kind", ["ended", "another process of the same id", "zombie"])
def test_a_dead_holder_is_recognised_and_surpassed(kind: str, tmp_path: Path) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""]) if kind == "zombie" else None
    if zombie is not None:
        while Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
    pid = zombie.pid if zombie is not None else dead_process() if kind == "ended" else os.getpid()
    leave_lock(tmp_path, replace(Holder.me(), pid=pid, started="1"))
    with RunLock(tmp_path) as lock:
        lock.acquire()
        assert names(tmp_path) == [".lock-000002"], "a lock is surpassed, then removed"
        lock.assert_held()
    if zombie is not None:
        zombie.wait()


def test_a_holder_on_another_machine_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT", 0.1)
    monkeypatch.setattr(lock_module, "PATIENCE", 1.5)
    elsewhere = replace(Holder.me(), host="node7", machine="another boot")
    path = leave_lock(tmp_path, elsewhere)

    ended = threading.Event()

    def beat() -> None:
        moment = time.time()
        while not ended.wait(0.1):
            moment -= 1000  # its clock runs backwards
            os.utime(path, (moment, moment))

    heart = threading.Thread(target=beat)
    heart.start()
    with pytest.raises(RunLocked, match="on node7 is working in it"):
        RunLock(tmp_path).acquire()
    ended.set()
    heart.join()

    began = time.monotonic()
    with RunLock(tmp_path) as lock:
        lock.acquire()  # no sign of life any more
        assert time.monotonic() - began >= 1.5
        assert names(tmp_path) == [".lock-000002"]


def test_a_held_lock_shows_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT", 0.05)
    with RunLock(tmp_path) as lock:
        lock.acquire()
        before = (tmp_path / ".lock-000001").stat().st_mtime_ns
        deadline = time.monotonic() + 30
        while (tmp_path / ".lock-000001").stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_of_many_that_find_a_stale_lock_one_wins(tmp_path: Path) -> None:
    leave_lock(tmp_path, replace(Holder.me(), pid=dead_process(), started="1"))
    program = (
        "import sys, time; from pathlib import Path; from cirn_dist.rundir.lock import RunLock, RunLocked\n"
        "lock = RunLock(Path(sys.argv[1]))\n"
        "try: lock.acquire()\n"
        "except RunLocked: sys.exit(3)\n"
        "print('held', flush=True); sys.stdin.read(); lock.release()\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(6)
    ]  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while sum(process.poll() == 3 for process in started) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert sum(process.poll() is None for process in started) == 1
    finally:
        outputs = [process.communicate("", timeout=60)[0] for process in started]
    assert sorted(outputs) == [""] * 5 + ["held\n"]
    assert names(tmp_path) == []


def test_who_slept_and_was_surpassed_writes_no_more(tmp_path: Path) -> None:
    with RunLock(tmp_path) as slept:
        slept.acquire()
        leave_lock(tmp_path, replace(Holder.me(), pid=1), number=2)
        with pytest.raises(RunLocked, match="has taken this run over"):
            slept.assert_held()


def test_a_file_system_without_links_locks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with RunLock(tmp_path) as first:
        first.acquire()
        with pytest.raises(RunLocked):
            RunLock(tmp_path).acquire()


def test_the_command_line_refuses_a_folder_in_use_and_takes_a_dead_ones(
    starts: Starts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with RunLock(run) as lock:
        lock.acquire()
        refused = starts("run", undisturbed.config, "--out", run, run=run)
        assert refused.code == 3
        assert refused.stderr.count("\n") == 1
        assert f"{run}: process {os.getpid()} on" in refused.stderr
        assert names(run) == [".lock-000001"], "nothing was written"
    killed = starts("run", undisturbed.config, "--out", run, run=run, fault=Fault(r"write \.config\.yaml"))
    assert killed.code == -signal.SIGKILL
    assert ".lock-000001" in names(run)
    again = starts("run", undisturbed.config, "--out", run, run=run, fault=Fault(r"mkdir data/source"))
    assert "ended without a word; going on" in again.stderr
