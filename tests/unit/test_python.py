"""The package from Python: a run trained in this process is the command's, and what ends it is an exception."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from forks import Starts

import cirn_dist
from cirn_dist.config.load import load
from cirn_dist.errors import ConfigError, Stopped

SHORT = ["with_cir=false", "controls=false"]


def test_a_call_trains_what_the_command_does(mini: Path, tmp_path: Path, starts: Starts) -> None:
    results = cirn_dist.train(mini, SHORT, tmp_path / "called", until="source")
    assert starts("run", mini, *SHORT, "--until", "source", "--out", tmp_path / "told").code == 0
    assert [row.stage for row in results.rows] == ["source"]
    called, told = (cirn_dist.load(tmp_path / name) for name in ("called", "told"))
    weights = told.network.state_dict()
    assert all((value == weights[name]).all() for name, value in called.network.state_dict().items())
    assert (tmp_path / "called/report.html").is_file()


def test_a_stop_is_an_exception_and_the_next_call_goes_on(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="--max-minutes"):
        cirn_dist.train(mini, SHORT, tmp_path / "run", max_minutes=0.0001)
    results = cirn_dist.train(load(str(mini), SHORT), out=tmp_path / "run", until="source")
    assert results.rows[0].iterations == load(str(mini)).source.iterations


def test_what_is_refused_leaves_nothing(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no stage 'sauce'"):
        cirn_dist.train(mini, SHORT, tmp_path / "run", until="sauce")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="takes no overrides"):
        cirn_dist.train(load(str(mini)), ["seed=1"], tmp_path / "run")


def test_a_thread_may_train(mini: Path, tmp_path: Path) -> None:
    """A notebook's or a server's; signals are for the main one."""
    found: list[object] = []

    def work() -> None:
        found.append(cirn_dist.train(mini, SHORT, tmp_path / "run", until="data"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 1
