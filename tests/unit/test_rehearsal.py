"""The paper's experiments at half their size in every direction, on raw files as published, from `pack` to `tables`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "rehearsal/run.py"


@pytest.mark.slow
@pytest.mark.parametrize("config", ["gta5_cityscapes", "synthia_cityscapes"])
def test_every_verb_at_half_the_size(config: str, tmp_path: Path) -> None:
    arguments = ("--config", config, "--share", "0.5", "--iterations", "1", "--images", "1")
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, *arguments], capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
