"""A long run on two ranks: memory and open files stay what they were, and nothing is left when it ends."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import MINI
from launching import finish, start

STEPS = 2000
MIB = 2**20


def family(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (child, *family(child))]


def look(pid: int) -> tuple[int, int, str] | None:
    """A process's resident bytes, open files and state; None if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        files = len(os.listdir(f"/proc/{pid}/fd"))
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE"), files, state


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_over_two_thousand_steps_keep_their_memory_and_files(tmp_path: Path) -> None:
    """With a loader process each, and 20 checkpoints on the way."""
    engine = MINI["engine"] | {"images_per_step": 2, "checkpoint_every": 2 * STEPS // 20, "log_every": 100}
    config = MINI | {
        "name": "long", "with_cir": False, "controls": False, "engine": engine, "data": MINI["data"] | {"workers": 1},
        "source": MINI["source"] | {"iterations": 2 * STEPS},
    }  # fmt: skip
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    metrics = tmp_path / "run/source/metrics.jsonl"
    process = start(2, "run", tmp_path / "long.yaml", "--out", tmp_path / "run", "--until", "source",
                    launcher="torchrun", cold=True)  # fmt: skip
    seen: dict[int, list[tuple[float, int, int]]] = {}
    zombies: Counter[int] = Counter()
    while process.poll() is None:
        everyone = family(process.pid)
        if metrics.is_file():
            for pid in everyone:
                if (found := look(pid)) is not None:
                    seen.setdefault(pid, []).append((time.monotonic(), found[0], found[1]))
                    zombies[pid] += found[2] == "Z"
        time.sleep(0.5)
    done = finish(process)
    assert done.returncode == 0, done.stderr
    assert len(metrics.read_text().splitlines()) >= STEPS // 50 - 1
    long = {pid: np.array(values) for pid, values in seen.items() if len(values) >= 20}
    assert len(long) >= 4, "two ranks and a loader each"
    for pid, values in long.items():
        settled = values[len(values) // 3 :]
        seconds = settled[-1, 0] - settled[0, 0]
        slope = np.polyfit(settled[:, 0] - settled[0, 0], settled[:, 1] / MIB, 1)[0]
        print(f"{pid}: {slope * seconds:+.1f} MiB of {settled[-1, 1] / MIB:.0f}, {np.median(settled[:, 2]):.0f} files")
        assert slope * seconds < 12, f"{pid} grew by {slope * seconds:.1f} MiB over the last two thirds"
        early, late = (np.median(part[:, 2]) for part in np.array_split(settled, 2))
        assert early == late, f"{pid}: open files {settled[:, 2]}"
    assert max(zombies.values()) < 6, "a process that has ended is waited for, within seconds"
    assert not [pid for pid in seen if look(pid) is not None and "cirn" in _command(pid)], "nothing is left"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
