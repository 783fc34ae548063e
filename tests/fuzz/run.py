"""Hostile input at length: python tests/fuzz/run.py --minutes 10 [--kind image] [--seed 5000].

Every input has a number, which repeats it: --kind image --seed N --count 1. A process of its own tries them, with a
bound on its memory; one that hangs or crashes is named by the last number that was begun.
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.connection
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

MEMORY = 2**30  # bytes a process may take beyond what it began with
PATIENCE = 60.0  # seconds an input may take


@dataclass
class Found:
    """What came of inputs: how many of each outcome, and the faults, by number."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values()) + len(self.faults)


def tried(kind: str, seeds: Sequence[int], until: float | None = None) -> Found:
    """Try inputs in a process of its own; it is started again behind one that hangs or crashes.

    Args:
        until: of `time.monotonic()`; no input is begun after it.
    """
    found, place = Found(), 0
    context = multiprocessing.get_context("fork")
    while place < len(seeds) and (until is None or time.monotonic() < until):
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_try, args=(kind, seeds[place:], theirs, until), daemon=True)
        process.start()
        theirs.close()
        while True:
            try:
                if not mine.poll(PATIENCE):
                    found.faults[seeds[place]] = f"takes longer than {PATIENCE:.0f} s"
                    process.kill()
                    break
                outcome, fault = mine.recv()
            except EOFError:  # it has ended, or it is gone
                break
            if outcome is None:
                found.faults[seeds[place]] = fault
            else:
                found.outcomes[outcome] += 1
            place += 1
        process.join()
        if process.exitcode and place < len(seeds) and seeds[place] not in found.faults:
            found.faults[seeds[place]] = f"the process ended with {process.exitcode}"
        if seeds[place : place + 1] and seeds[place] in found.faults:
            place += 1
        elif not process.exitcode:
            break
    return found


def _try(kind: str, seeds: Sequence[int], pipe: multiprocessing.connection.Connection, until: float | None) -> None:
    from kinds import KINDS

    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            if until is not None and time.monotonic() > until:
                return
            draw = random.Random(f"{kind} {seed}")
            try:
                sent: tuple[str | None, str] = KINDS[kind](Path(folder), draw), ""
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                where = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{Path(where.filename).name}:{where.lineno}"
                sent = None, f"{type(error).__name__}: {str(error)[:200]} ({place})"
            pipe.send(sent)


def main() -> int:
    """Try all kinds in turn, and print what came of them; returns 1 where there was a fault."""
    from kinds import KINDS

    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("--minutes", type=float, help="of all kinds together, in place of --count")
    words.add_argument("--count", type=int, default=200, help="inputs of each kind")
    words.add_argument("--kind", choices=sorted(KINDS))
    words.add_argument("--seed", type=int, default=0, help="the first number")
    given = words.parse_args()
    kinds = [given.kind] if given.kind else list(KINDS)
    faults = 0
    print(f"{'kind':<14}{'tried':>9}{'refused':>9}{'right':>9}{'faults':>9}")
    for kind in kinds:
        count = 10**7 if given.minutes else given.count
        until = time.monotonic() + 60 * given.minutes / len(kinds) if given.minutes else None
        found = tried(kind, range(given.seed, given.seed + count), until)
        faults += len(found.faults)
        refused, right = found.outcomes["refused"], found.outcomes["right"]
        print(f"{kind:<14}{found.tried:>9,}{refused:>9,}{right:>9,}{len(found.faults):>9,}", flush=True)
        for seed, fault in list(found.faults.items())[:20]:
            print(f"    --kind {kind} --seed {seed} --count 1: {fault}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
