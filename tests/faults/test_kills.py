"""kill -9 at random file operations and moments: nothing reported is lost, and the run ends as an undisturbed one.

The places are drawn from a seed, which is in the test's name; CIRN_FAULT_SEED=n draws others.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults_run import Undisturbed, assert_nothing_left_over, assert_nothing_lost, essence
from forks import Fault, Starts

pytestmark = pytest.mark.timeout(900)  # the undisturbed run counts to the first of them

# In the order of the pipeline: where each kill of a chain falls. A kill lies in what no earlier one has reached.
# Reads do not count: they happen in later phases too.
CHANGES = r"^(?!read )\S+ "
PHASES = {
    "beginning": r"(\.lock|\.config\.yaml|\.run\.json)",
    "packing the source": r"data/source/",
    "packing the target": r"data/(target|scored)/",
    "a save of the source stage": r"source/(checkpoints|saves)",
    "a save of CycleGAN": r"translate/(checkpoints|saves)",
    "render": r"render/shards",
    "a save on the CIR": r"cir/(checkpoints|saves)",
    "a save of the adversarial stage": r"adapt/(checkpoints|saves)",
    "pseudo-labelling": r"pseudo_label/",
    "a save of self-training": r"self_train/(checkpoints|saves)",
    "scoring and reporting": r"(self_train/\.scores|\.report\.html)",
}
SEED = int(os.environ.get("CIRN_FAULT_SEED", "0"))


def chain(undisturbed: Undisturbed, seed: int) -> Iterator[tuple[str, Fault]]:
    """Draw one operation of each phase of the pipeline, in order."""
    draw = random.Random(seed)
    for phase, where in PHASES.items():
        operations = [one for one in undisturbed.operations if re.search(CHANGES + where, one)]
        assert operations, f"no operation of {phase}"
        yield phase, Fault(CHANGES + where, draw.randrange(len(operations)))


def was_killed(starts: Starts, undisturbed: Undisturbed, run: Path, fault: Fault) -> bool:
    """Start the run once with a fault; nothing that was reported saved is lost, whether or not it hit."""
    ended = starts("run", undisturbed.config, "--out", run, run=run, fault=fault)
    print(f"  exit {ended.code}")
    assert ended.code in (-signal.SIGKILL, 0), ended.stderr
    assert_nothing_lost(run, ended)
    return ended.code == -signal.SIGKILL


def assert_ends_as_undisturbed(starts: Starts, undisturbed: Undisturbed, run: Path) -> None:
    done = starts("run", undisturbed.config, "--out", run, run=run)
    assert done.code == 0, done.stderr
    assert essence(run) == undisturbed.essence
    assert_nothing_left_over(run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [SEED, SEED + 1, SEED + 2])
def test_killed_in_every_phase_it_ends_as_if_undisturbed(
    seed: int, starts: Starts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed = 0
    for phase, fault in chain(undisturbed, seed):
        print(f"seed {seed}: {phase}, operation {fault.nth}")
        killed += was_killed(starts, undisturbed, run, fault)
    assert_ends_as_undisturbed(starts, undisturbed, run)
    assert killed >= len(PHASES) - 1, "nearly all of the kills must have hit"


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_undisturbed(
    starts: Starts, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """The same by the clock: inside a write, a step, a collective, wherever it falls.

    A run that outlives its kill is at its end; the next kill is for a new one.
    """
    run, draw, killed = tmp_path / "run-0", random.Random(SEED), 0
    for number in range(7):
        after = undisturbed.seconds * draw.uniform(0.05, 0.4)
        print(f"seed {SEED}: killed after {after:.3f} s")
        if was_killed(starts, undisturbed, run, Fault(after=after)):
            killed += 1
        else:
            assert_ends_as_undisturbed(starts, undisturbed, run)
            run = tmp_path / f"run-{number + 1}"
    assert_ends_as_undisturbed(starts, undisturbed, run)
    assert killed >= 2
