"""Worker processes that read ahead: results in order, every error and every death told in one line, nothing left."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from cirn_dist.data.workers import feed, processes
from cirn_dist.data.workers.feed import Feed
from cirn_dist.data.workers.pool import ordered_map
from cirn_dist.data.workers.processes import fork_server, start_method
from cirn_dist.errors import ConfigError, DataError


class Numbers:
    """Result n holds n in tensors of several kinds; where it comes from is `extra`."""

    def __init__(self, count: int, faults: dict[int, Any] | None = None) -> None:
        self.count, self.faults = count, faults or {}

    def __len__(self) -> int:
        return self.count

    def items(self) -> Iterator[int]:
        return iter(range(self.count))

    def read(self, item: int) -> dict[str, Any]:
        fault = self.faults.get(item)
        if isinstance(fault, signal.Signals):
            os.kill(os.getpid(), fault)
        elif isinstance(fault, BaseException):
            raise fault
        elif fault is not None:
            time.sleep(fault)
        tensors = {
            "a": torch.full((2, 3, 4), item).permute(0, 2, 1),
            "b": torch.tensor([item % 256], dtype=torch.uint8),
        }
        return {"tensors": tensors, "extra": [item, os.getpid()]}


@pytest.mark.parametrize(("workers", "count"), [(0, 5), (1, 5), (3, 20), (4, 2), (2, 0)])
def test_results_come_in_order_and_as_they_were(workers: int, count: int) -> None:
    read = list(Feed(Numbers(count), workers, ahead=2))
    assert [one["extra"][0] for one in read] == list(range(count))
    assert all((one["extra"][1] == os.getpid()) == (workers == 0) for one in read)
    for n, one in enumerate(read):
        wanted = Numbers(count).read(n)["tensors"]
        for name, tensor in wanted.items():
            assert torch.equal(one["tensors"][name], tensor)
            assert one["tensors"][name].stride() == tensor.stride()
            assert one["tensors"][name].dtype == tensor.dtype
    assert not multiprocessing.active_children()


def test_a_worker_reads_no_further_ahead_than_it_may(tmp_path: Path) -> None:
    class Noting(Numbers):
        def read(self, item: int) -> dict[str, Any]:
            (tmp_path / str(item)).touch()
            return {"n": torch.tensor(item)}

    with Feed(Noting(20), 2, ahead=3) as results:
        for taken in range(5):
            deadline = time.monotonic() + 20
            while len(list(tmp_path.iterdir())) < 6 + taken and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)
            assert len(list(tmp_path.iterdir())) == 6 + taken
            next(results)


def test_files_and_memory_are_given_back() -> None:
    with Feed(Numbers(300), 2) as results:
        next(results)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(290):
            next(results)
        assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (signal.SIGKILL, "data.workers: a loader process was ended by SIGKILL; by the out-of-memory killer as a rule"),
        (
            signal.SIGBUS,
            r"workers: a loader process was ended by SIGBUS; no memory was left for it \(/dev/shm has",
        ),
        (ZeroDivisionError(), "data.workers: a loader process ended with exit code 1; what it wrote is above"),
        (OSError(errno.EIO, "Input/output error", "/nfs/x.tar"), "/nfs/x.tar: cannot be read: Input/output error"),
    ],
)
def test_a_worker_that_fails_is_told_at_once(fault: Any, told: str) -> None:
    began = time.monotonic()
    with Feed(Numbers(50, {7: fault}), 2) as results:
        assert [next(results)["extra"][0] for _ in range(7)] == list(range(7))
        with pytest.raises(DataError, match=told):
            next(results)
    assert time.monotonic() - began < 5
    assert not multiprocessing.active_children()


def test_an_expected_error_arrives_as_it_is_in_its_turn() -> None:
    for workers in (0, 2):
        results = Feed(Numbers(9, {4: ConfigError("wrong", where="here", fix="mend it")}), workers)
        assert len([next(results) for _ in range(4)]) == 4
        with pytest.raises(ConfigError, match="here: wrong; mend it"):
            next(results)


def test_a_full_dev_shm_is_named_where_memory_files_are_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feed, "_MEMFD", False)
    assert [one["extra"][0] for one in Feed(Numbers(9), 2)] == list(range(9))  # a file in /dev/shm does as well
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError) as caught:
        next(Feed(Numbers(9), 2))
    line = str(caught.value)
    assert line.startswith(
        "/dev/shm: No space left on device: no room for 0.0 MiB from a loader process (/dev/shm has "
    )
    assert line.endswith("make it larger (docker run --shm-size=1g), or set data.workers lower; 0 needs none")


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.get_context().Process, "start", refuse)
    with pytest.raises(DataError, match=r"data.workers: a loader process cannot be started: Resource temporarily"):
        Feed(Numbers(9), 2)


def test_ready_does_not_wait_longer_than_it_is_told() -> None:
    with Feed(Numbers(4, {0: 60.0}), 1) as results:
        began = time.monotonic()
        assert not results.ready(0.2)
        assert time.monotonic() - began < 2
    assert not multiprocessing.active_children(), "one that is busy ends as well"


def test_signals_that_stop_a_run_end_no_worker() -> None:
    with Feed(Numbers(40), 2, ahead=1) as results:
        workers = {next(results)["extra"][1] for _ in range(4)}
        for number in processes.STOPPING:
            for worker in workers:
                os.kill(worker, number)
        assert len(list(results)) == 36


def test_the_fork_server_outlives_the_signals_as_well() -> None:
    context = fork_server()
    server = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    tracker = multiprocessing.resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    for number in processes.STOPPING:
        os.kill(server, number)
        os.kill(tracker, number)
    with Feed(Numbers(20), 2, context=context) as results:
        for one in results:
            for number in processes.STOPPING:
                os.kill(one["extra"][1], number)
    with pytest.raises(DataError, match="SIGKILL"):
        list(Feed(Numbers(20, {5: signal.SIGKILL}), 2, context=context))
    assert all(Path(f"/proc/{process}/cmdline").read_text() for process in (server, tracker))


def test_workers_are_no_forks_of_a_process_that_holds_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start_method().get_start_method() == multiprocessing.get_start_method()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert start_method().get_start_method() == "forkserver"


KILLED = """
import os, signal, sys
from test_feed import Numbers, Feed
results = Feed(Numbers(10**6), 2)
print(*{next(results)["extra"][1] for _ in range(8)}, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_the_process_that_started_them() -> None:
    path = f"{ROOT}:{ROOT / 'tests'}:{ROOT / 'tests/unit'}"
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    workers = [int(word) for word in done.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_a_map_can_be_left_while_it_waits() -> None:
    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    assert list(ordered_map(abs, [-3, 2, -1], 2)) == [3, 2, 1]
    with pytest.raises(Enough):
        list(ordered_map(time.sleep, [60.0, 60.0], 2, waiting=enough))
    assert not multiprocessing.active_children()
