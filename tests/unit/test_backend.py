"""What DeepSpeed cannot do here is refused in one line, before anything is written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from conftest import Command

from cirn_dist.config.load import load
from cirn_dist.engine.deepspeed import assert_usable
from cirn_dist.engine.join import join
from cirn_dist.errors import ConfigError


def test_zero_3_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"engine\.zero_stage.*3 shards the parameters"):
        load("demo", ["engine.backend=deepspeed", "engine.zero_stage=3"])
    assert load("demo", ["engine.backend=deepspeed", "engine.zero_stage=2"]).engine.zero_stage == 2


def test_a_machine_without_deepspeed_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = join("fp32", backend="deepspeed")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"deepspeed is not installed; pip install 'cirn-dist\[deepspeed\]'"):
        assert_usable(runtime)


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_one_process_without_a_launcher_is_refused(mini: Path, cirn_dist: Command, tmp_path: Path) -> None:
    refused = cirn_dist("run", mini, "engine.backend=deepspeed", "--out", tmp_path / "run")
    assert refused.returncode == 2
    assert "deepspeed shards over ranks and this process was started alone" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
