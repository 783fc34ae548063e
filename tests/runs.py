"""Run folders in tests: what their weights are, whether two agree, and waiting for one to get somewhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cirn_dist.checkpoint.store import Store

TRAINED = ("source", "source_control", "translate", "cir", "cir_control", "adapt", "adapt_control", "self_train")
IN_DOUBLE = 1e-9  # how near runs in double precision are
COMPONENTS = {
    "source": ["segmenter"],
    "translate": ["generator_s2t", "generator_t2s", "discriminator_s", "discriminator_t"],
    "adapt": ["segmenter", "discriminator"],
    "self_train": ["segmenter"],
}


def content(run: Path) -> dict[str, str]:
    """Return the hash of every file of a folder."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def weights(run: Path, stages: tuple[str, ...] = TRAINED) -> dict[str, str]:
    """Return the hash of every component of every stage's last checkpoint."""
    hashes = {}
    for stage in stages:
        newest = Store(run / stage / "checkpoints").latest()
        assert newest is not None, f"{run / stage}: no valid checkpoint"
        manifest = json.loads((newest.path / "MANIFEST.json").read_text())
        hashes |= {f"{stage}/{name}": facts["sha256"] for name, facts in manifest.items() if name != "state.json"}
    return hashes


def assert_close(expected_run: Path, found_run: Path, stage: str, component: str, *, within: float = 1e-4) -> None:
    """Compare a component's tensors, each to a share of its largest value.

    In single precision, what begins at 0 (gates' biases, norms' biases, a generator that begins as the identity) is
    rounding's to the fourth digit, on some processors to the third: Adam makes steps of gradients that are rounding,
    and a CIR whose last bit differs goes into all that follows. In double precision `IN_DOUBLE` holds throughout.
    """
    one, other = (Store(run / stage / "checkpoints").latest() for run in (expected_run, found_run))
    assert one is not None
    assert other is not None
    expected, found = one.read(component), other.read(component)
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        scale = tensor.double().abs().max().clamp_min(1e-6)
        worst = ((found[key].double() - tensor.double()).abs().max() / scale).item()
        assert worst < within, f"{stage}/{component}: {key} differs by {worst:.1e} of its largest value"


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    wait_until(lambda: file.is_file() and file.stat().st_size > 0, process)


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.stderr and process.stderr.read()
        if time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"{process.args} got nowhere: {process.communicate()}")
        time.sleep(0.02)
