"""Faults at length: runs on one and two ranks, each disturbed at drawn moments until it is done, and then compared.

    python -m tests.faults.soak --minutes 60 --seed 0

A chain is one run. Before each of its starts a fault is drawn: kill -9 or an error of the disk at a file operation,
kill -9 or a request to stop at a moment, a bit flipped or a file removed in a checkpoint, the clock turned back; on two
ranks one rank is killed, or the launcher and all of them, or the ranks' connections are cut. Nothing that was reported
saved may be lost, and a last start that nothing disturbs must end with the weights, states, sets and scores of an
undisturbed run, to the bit. A chain is drawn from (seed, its number) alone: --only N repeats it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "faults"), str(TESTS / "dist")]

import launching  # noqa: E402 - the tests' own folders, as pytest finds them
from faults_run import STAGES, Undisturbed, assert_nothing_left_over, assert_nothing_lost, essence, run_undisturbed  # noqa: E402
from forks import Fault, Outcome, Starts  # noqa: E402
from test_damage import flip_a_bit  # noqa: E402

from cirn_dist.checkpoint.store import Store  # noqa: E402

CHANGES = ("write", "rename", "link", "remove", "mkdir", "rmtree")
ALONE = (
    "kill at an operation",
    "kill at a moment",
    "error of the disk",
    "stop",
    "bit flipped",
    "file removed",
    "clock back",
)
TOGETHER = ("rank killed", "all killed", "disconnected", "stop", "bit flipped", "file removed")
FAULTS_A_CHAIN = 14


@dataclass
class Tally:
    """What happened: faults that hit, by kind; and chains that did not end as the undisturbed run."""

    hit: Counter[str] = field(default_factory=Counter)
    chains: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.hit.most_common())
        return f"{self.chains} chains, {self.hit.total()} faults ({kinds}), {len(self.lost)} lost"


class Chain:
    """One run and its faults.

    Args:
        run: its folder.
        ranks: 1, in forks of a warm process; or 2, under torchrun.
    """

    def __init__(self, starts: Starts, undisturbed: Undisturbed, run: Path, ranks: int, draw: random.Random) -> None:
        self.starts, self.undisturbed, self.run, self.ranks, self.draw = starts, undisturbed, run, ranks, draw
        self.damaged = False

    @property
    def finished(self) -> bool:
        """Whether the last stage has come to its end."""
        newest = Store(self.run / STAGES[-1] / "checkpoints").latest()
        return newest is not None and bool(newest.state["finished"])

    def walk(self, tally: Tally) -> None:
        """Disturb the run some times, let it end, and compare; raises AssertionError where anything is lost."""
        for _ in range(FAULTS_A_CHAIN):
            kind = self.draw.choice(ALONE if self.ranks == 1 else TOGETHER)
            hit, told = self.disturb(kind)
            print(f"    {kind}: {told}{'' if hit else ' (nothing happened)'}", flush=True)
            tally.hit[kind] += hit
            if self.finished and self.draw.random() < 0.5:
                break
        done = self.start()
        assert done.code == 0, done.stderr
        ended = essence(self.run)
        for what, expected in self.undisturbed.essence.items():
            found = ended[what]
            if what.endswith(
                " kept"
            ):  # killed between a stage's last save and the removal of older ones, it has one more
                found = {name: why for name, why in found.items() if why}
            assert found == expected, f"{what}: {found}, not {expected}"
        assert_nothing_left_over(self.run)

    def disturb(self, kind: str) -> tuple[bool, str]:
        """Let one fault happen; returns whether it did, and what it was."""
        if kind in ("bit flipped", "file removed"):
            return self.damage(kind)
        after = self.undisturbed.seconds * self.draw.uniform(0.03, 0.5)
        if kind in ("rank killed", "all killed", "disconnected", "stop"):
            ended = self.interrupted(kind, after)
            told = f"after {after:.2f} s"
        else:
            fault, told = self.fault(kind, after)
            ended = self.start(fault)
        assert "Traceback" not in ended.stderr, ended.stderr
        if not self.damaged:  # a checkpoint that was damaged on purpose may be missed until it is made again
            assert_nothing_lost(self.run, ended)
        stopped = (self.run / "PREEMPTED").exists()
        allowed = {"disconnected": (0, 1, 75), "stop": (0, 1, -signal.SIGTERM) if self.ranks > 1 else (0,)}.get(
            kind, (0, 1, -signal.SIGKILL)
        )
        assert ended.code in allowed, f"exit {ended.code}: {ended.stderr}"
        if kind == "error of the disk" and ended.code:
            lines = [
                line for line in ended.stderr.splitlines() if not line.startswith(("WARNING", "cirn-dist: warning"))
            ]
            assert len(lines) == 1, ended.stderr
        return (kind == "clock back" or stopped or ended.code != 0), f"{told}, exit {ended.code}"

    def fault(self, kind: str, after: float) -> tuple[Fault, str]:
        """Draw a fault that happens inside a start."""
        if kind == "kill at a moment":
            return Fault(after=after), f"after {after:.2f} s"
        if kind == "clock back":
            return Fault(clock=True), "all the time"
        changing = [one for one in self.undisturbed.operations if one.startswith(CHANGES)]
        operation = self.draw.choice(changing)
        word, _, path = operation.partition(" ")
        folder = path.rpartition("/")[0].partition("/.tmp")[0]
        nth = self.draw.randrange(4)
        error = "kill" if kind == "kill at an operation" else self.draw.choice(("ENOSPC", "EIO", "EDQUOT"))
        return Fault(rf"^{word} {folder}/?", nth, error), f"{error} at {word} {folder or '.'}, number {nth}"

    def damage(self, kind: str) -> tuple[bool, str]:
        """Damage one file of one of the newest checkpoints."""
        files = [
            file
            for stage in STAGES
            for checkpoint in sorted((self.run / stage / "checkpoints").glob("step-*"))[-1:]
            for file in sorted(checkpoint.iterdir())
        ]
        if not files:
            return False, "no checkpoint yet"
        file, self.damaged = self.draw.choice(files), True
        if kind == "bit flipped":
            flip_a_bit(file, self.draw.randrange(2**31))
        else:
            file.unlink()
        return True, str(file.relative_to(self.run))

    def start(self, fault: Fault | None = None) -> Outcome:
        """Start the run and wait until it has ended."""
        if self.ranks == 1:
            return self.starts("run", self.undisturbed.config, "--out", self.run, run=self.run, fault=fault)
        done = launching.finish(self.launch())
        return Outcome(done.returncode, done.stdout, done.stderr)

    def launch(self) -> subprocess.Popen[str]:
        """Start the run on two ranks."""
        words = ("run", self.undisturbed.config, "--out", self.run)
        return launching.start(2, *words, launcher="torchrun", cold=True, PET_MAX_RESTARTS=0)

    def interrupted(self, kind: str, after: float) -> Outcome:
        """Start the run, and kill or stop it in its course."""
        if self.ranks == 1:
            stopper = Path(self.run, "STOP")
            script = f"sleep {after}; [ -d '{self.run}' ] && touch '{stopper}'"
            asked = subprocess.Popen(["bash", "-c", script])
            ended = self.start()
            asked.kill()
            asked.wait()
            stopper.unlink(missing_ok=True)
            return ended
        process = self.launch()
        time.sleep(8 + after)  # two interpreters import torch
        ranks = _descendants(process.pid)
        if kind == "stop":
            process.send_signal(signal.SIGTERM)
        elif kind == "disconnected":
            _cut(ranks)
        else:
            for pid in [self.draw.choice(ranks)] if kind == "rank killed" and ranks else [process.pid, *ranks]:
                _kill(pid)
        done = launching.finish(process)
        for pid in ranks:
            _kill(pid)
        ours = [line for line in done.stderr.splitlines() if "cirn-dist: " in line or "cirn_dist/" in line]
        return Outcome(done.returncode, done.stdout, "\n".join(ours))  # torchrun has a traceback of its own for a kill


def _descendants(pid: int) -> list[int]:
    """Return the ranks that a launcher has started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children]


def _cut(pids: list[int]) -> None:
    """Cut every connection of some processes, as a network that fails does; needs ss and the right to do it."""
    listed = subprocess.run(["ss", "-tnpH", "state", "established"], capture_output=True, text=True, check=True)
    ours = [line.split() for line in listed.stdout.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    for words in ours:
        port = words[2].rpartition(":")[2]
        subprocess.run(["ss", "-K", "sport", "=", f":{port}"], capture_output=True, check=False)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def main() -> int:
    """Walk chains for as long as asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of a chain to repeat")
    parser.add_argument("--two", type=float, default=0.1, help="share of the chains on two ranks")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    scratch, tally, until = Path(tempfile.mkdtemp(prefix="soak-")), Tally(), time.monotonic() + 60 * given.minutes
    starts = Starts(scratch)
    known: dict[int, Undisturbed] = {}
    number = given.only if given.only is not None else 0
    while time.monotonic() < until:
        draw = random.Random(f"{given.seed} {number}")
        ranks = 2 if draw.random() < given.two else 1
        if ranks not in known:
            (scratch / f"undisturbed-{ranks}").mkdir()
            known[ranks] = _undisturbed(starts, scratch / f"undisturbed-{ranks}", ranks)
        print(f"seed {given.seed}, chain {number}, {ranks} rank(s)", flush=True)
        run = scratch / f"chain-{number}"
        try:
            Chain(starts, known[ranks], run, ranks, draw).walk(tally)
            shutil.rmtree(run)
        except AssertionError as error:
            tally.lost.append(f"seed {given.seed}, chain {number}: {error}")
            print(f"LOST, kept in {run}: {error}", flush=True)
        tally.chains += 1
        print(f"  {tally}", flush=True)
        if given.only is not None:
            break
        number += 1
    print(tally)
    if given.json:
        found: dict[str, Any] = {"seed": given.seed, "chains": tally.chains, "faults": tally.hit, "lost": tally.lost}
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if tally.lost else 0


def _undisturbed(starts: Starts, folder: Path, ranks: int) -> Undisturbed:
    """Return the run that chains on so many ranks are compared with: two ranks' sums are in another order."""
    alone = run_undisturbed(starts, folder)
    if ranks == 1:
        return alone
    run = folder / "run-2"
    done = launching.finish(launching.start(2, "run", alone.config, "--out", run, launcher="torchrun", cold=True))
    assert done.returncode == 0, done.stderr
    return Undisturbed(alone.config, run, alone.operations, alone.seconds, essence(run))


if __name__ == "__main__":
    sys.exit(main())
