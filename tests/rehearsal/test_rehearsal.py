"""The paper's experiments at half their size and a quarter, on raw files as published, from `pack` to `tables`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("run.py")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("config", "share"), [("gta5_cityscapes", 0.5), ("synthia_cityscapes", 0.25)])
def test_every_verb_does_what_it_would_on_a_cluster(config: str, share: float, tmp_path: Path) -> None:
    arguments = ("--config", config, "--share", str(share), "--iterations", "1", "--images", "1")
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, *arguments], capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
