"""The suite for a machine with GPUs: skipped elsewhere, or rehearsed there at toy sizes to test the suite itself.

Figures go into measured.json as they are found and failures into failures.txt as they happen, both in the folder
CIRN_GPU_OUT names: what a first run on a new machine found is kept, however it ends. launch/test_gpu.sh loads this
file as a plugin.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import torch
from figures import Figures

# CIRN_GPU_REHEARSAL=1: on a CPU, at toy sizes. What it measures means nothing.
REHEARSAL = os.environ.get("CIRN_GPU_REHEARSAL") == "1" and not torch.cuda.is_available()
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available() and not REHEARSAL, reason="no GPU here")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    folder = os.environ.get("CIRN_GPU_OUT")
    if folder and report.failed and "PYTEST_XDIST_WORKER" not in os.environ:  # the first process is told of all
        with open(Path(folder) / "failures.txt", "a", encoding="utf-8") as file:
            file.write(f"{'=' * 100}\n{report.nodeid} ({report.when})\n{report.longreprtext}\n{report.capstderr}\n")


@pytest.fixture(scope="session")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """Return where figures are kept."""
    folder = os.environ.get("CIRN_GPU_OUT")
    kept = Figures((Path(folder) if folder else tmp_path_factory.mktemp("figures")) / "measured.json")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: a rehearsal"
    cudnn = torch.backends.cudnn.version()
    kept.put("machine", gpu=gpu, gpus=torch.cuda.device_count(), cores=os.cpu_count(), python=platform.python_version(),
             torch=torch.__version__, cuda=torch.version.cuda, cudnn=cudnn)  # fmt: skip
    return kept
