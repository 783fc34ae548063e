from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import warm


def test_norms_over_2_and_4_ranks_equal_one_process_on_the_whole_batch(tmp_path: Path) -> None:
    script = Path(__file__).with_name("norm_ranks.py")
    root = script.parents[2]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(root), "WARM": warm.server()}
    ranks = [
        subprocess.Popen(
            [sys.executable, warm.__file__, str(script), str(rank), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(4)
    ]
    try:
        for rank, process in enumerate(ranks):
            out, err = process.communicate(timeout=100)
            expected = "2 ranks ok\n4 ranks ok\n" if rank < 2 else "4 ranks ok\n"
            assert (process.returncode, out) == (0, expected), err[-3000:]
    finally:
        for process in ranks:
            process.kill()
