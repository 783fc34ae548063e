"""Signals to the launchers reach the ranks, and the run that was stopped ends as the undisturbed one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from conftest import DOUBLE
from launching import launch, start
from runs import COMPONENTS, IN_DOUBLE, assert_close, wait_until

from cirn_dist.checkpoint.store import Store


def written(run: Path) -> int:
    return sum(log.stat().st_size for log in run.glob("*/metrics.jsonl"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_launchers_pass_signals_on_and_the_run_goes_on(
    mini: Path, finished_in_double: Path, tmp_path: Path
) -> None:
    """Stopped twice while two ranks train, their loader workers signalled too, and then left to finish."""
    out = tmp_path / "run"
    arguments = ("run", mini, "--out", out, DOUBLE, "data.workers=2")
    stopped_at = set()
    for launcher, number in (("accelerate", signal.SIGTERM), ("torchrun", signal.SIGUSR1)):
        before = written(out)
        process = start(2, *arguments, launcher=launcher, cold=True)
        wait_until(lambda before=before: written(out) > before, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=240)
        assert (out / "PREEMPTED").read_text().splitlines()[0] == number.name, errors
        assert errors.count("start again to continue") == 1, errors
        stopped_at |= {path.parents[1].name for path in out.glob("*/checkpoints/step-*")}
    for stage in stopped_at:
        assert Store(out / stage / "checkpoints").latest() is not None

    done = launch(2, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (out / "PREEMPTED").exists()
    for stage, components in COMPONENTS.items():
        for component in components:
            assert_close(finished_in_double, out, stage, component, within=IN_DOUBLE)
