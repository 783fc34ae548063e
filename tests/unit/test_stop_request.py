"""Asking a run to stop: what counts as a request, and that a run stopped anywhere ends as the undisturbed one."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, Command
from runs import wait_for, weights
from stagerun import stage_run

from cirn_dist.engine import stop as signals
from cirn_dist.engine.stop import StopRequest
from cirn_dist.errors import Stopped
from cirn_dist.pipeline import run_pipeline


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_a_request_and_a_second_one_changes_nothing(number: signal.Signals, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    with StopRequest(tmp_path / "STOP") as stop:
        assert not stop
        for _ in range(2):
            os.kill(os.getpid(), number)
            assert stop
        assert stop.reason == number.name
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait_but_a_passed_on_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StopRequest(tmp_path / "STOP") as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # the launcher's copy of the same press
        assert stop.stopped("stopped", "here").exit_code == 130
        monkeypatch.setattr(signals, "_ONE_PRESS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_file_is_a_request_also_when_it_was_there_before(tmp_path: Path) -> None:
    stop = StopRequest(tmp_path / "STOP")
    assert not stop
    stop.file.touch()
    stop._looked -= 2
    assert stop
    assert stop.reason == "STOP"
    assert StopRequest(stop.file)


def test_the_end_of_its_time_leaves_room_for_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stop = StopRequest(tmp_path / "STOP", deadline=1000 + 3600)
    stop.took(100)
    stop.took(20)
    now = 1000 + 3600 - 201
    assert not stop
    now += 2
    assert stop
    assert stop.reason == "--max-minutes"
    unmeasured = StopRequest(tmp_path / "STOP", deadline=now + 100)
    now += 89
    assert not unmeasured
    now += 2
    assert unmeasured


class StopAfter(StopRequest):
    """A request that comes at the n-th look."""

    def __init__(self, file: Path, looks: int) -> None:
        super().__init__(file)
        self.looks = looks

    def __bool__(self) -> bool:
        self.looks -= 1
        if self.looks <= 0:
            self.reason = "SIGTERM"
        return self.reason is not None


@pytest.mark.slow
def test_stopped_again_and_again_in_every_kind_of_stage_it_is_the_same_run(finished_run: Path, tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run")
    draw = random.Random(0)
    places = []
    for attempt in range(40):  # each has further to go before it meets something new
        try:
            looks = draw.randint(3, 12) + attempt
            run_pipeline(dataclasses.replace(run, stop=StopAfter(tmp_path / "STOP", looks)))
            break
        except Stopped as stopped:
            places.append(str(stopped.where))
    else:
        pytest.fail(f"no end: {places}")
    for kind in ("packing", "translate", "render", "scoring", "AdaBN", "pseudo_label"):
        assert any(kind in place for place in places), f"never stopped in {kind}: {places}"
    assert weights(run.folder) == weights(finished_run)
    for name in ("render/shards/index.json", "pseudo_label/shards/index.json", "source/scores.json"):
        assert (run.folder / name).read_bytes() == (finished_run / name).read_bytes()


@pytest.mark.slow
def test_a_stopped_run_exits_0_with_a_marker_and_a_finished_one_without(
    finished_run: Path, mini: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    out = tmp_path / "run"
    marker = out / "PREEMPTED"
    arguments = ["run", str(mini), "--out", str(out)]

    early = cirn_dist(*arguments, "--max-minutes", "0")
    assert (early.returncode, marker.read_text().splitlines()[0]) == (0, "--max-minutes")
    assert early.stderr.count("\n") == 1

    (out / "STOP").touch()
    held = cirn_dist(*arguments)
    assert (held.returncode, marker.read_text().splitlines()[0]) == (0, "STOP")
    assert not (out / "STOP").exists(), "the next start is not stopped by it"

    process = subprocess.Popen(
        [sys.executable, "-m", "cirn_dist", *arguments], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    wait_for(out / "source/metrics.jsonl", process)
    assert not marker.exists(), "gone while it runs"
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.01)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    # Not which came first: handlers of signals that wait together are called in the order of their numbers.
    assert marker.read_text().splitlines()[0] in ("SIGTERM", "SIGUSR1")

    part = cirn_dist(*arguments, "--until", "adapt")
    assert part.returncode == 0, part.stderr
    assert "adapt is done" in part.stdout
    assert not marker.exists(), "it did what was asked"
    assert (out / "report.html").is_file()
    assert not (out / "adapt_control").exists()
    assert weights(out, ("adapt",)) == weights(finished_run, ("adapt",))


def test_a_stage_that_is_not_there(mini: Path, tmp_path: Path, cirn_dist: Command) -> None:
    wrong = cirn_dist("run", mini, "--out", tmp_path / "run", "--until", "adopt")
    assert wrong.returncode == 2
    assert "adopt" in wrong.stderr
    assert "did you mean adapt" in wrong.stderr
