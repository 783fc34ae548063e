"""The command line, with what a test asks for done to one rank: FAULT is a list of KIND:RANK:FIRST-LAST (steps from 0);
ranks that a launcher has started again are spared.

nan     the images of those steps are not finite
sleep   the rank never comes back from that step
kill    the rank is killed, as by a machine that runs out of memory
drift   after that step, two weights of the last component have changed places
LATE, RANK: the rank looks what there is of a derived set when another has written some of it.
KILL_AT_TAR, RANK:N: the rank is killed as it begins its tar N of a derived set, counted from 0.
RECORD, a folder: one line for every sample trained on, with a checksum of the image as it was augmented, is appended
to rank-N.txt there: players, iteration, domain, k, checksum.
"""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cirn_dist.cli.app import main
from cirn_dist.engine import loop
from cirn_dist.data.shards.writer import finished, write_shard
from cirn_dist.engine.step import MicroBatches, StepResult, train_step
from cirn_dist.stages import derived_set


def faults(step: int, rank: int) -> list[str]:
    found: list[str] = []
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return found
    for fault in os.environ.get("FAULT", "").split():
        kind, of, steps = fault.split(":")
        first, _, last = steps.partition("-")
        if int(of) == rank and int(first) <= step <= int(last or first):
            found.append(kind)
    return found


@dataclass
class Seen:
    """A step's micro-batches, each shown to `look` before it is computed with."""

    micro_batches: MicroBatches
    look: Callable[[dict[str, Any]], None]

    def __len__(self) -> int:
        return len(self.micro_batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.micro_batches:
            self.look(batch)
            yield batch


def spoil_and_record(batch: dict[str, Any], spoil: bool, players: Mapping[str, Any], iteration: int, rank: int) -> None:
    if spoil:
        batch["source"]["image"].fill_(float("nan"))
    folder = os.environ.get("RECORD")
    if not folder:
        return
    with Path(folder, f"rank-{rank}.txt").open("a", encoding="utf-8") as record:
        for domain, entries in sorted(batch.items()):
            for k, image in zip(entries["k"].tolist(), entries["image"], strict=True):
                content = zlib.crc32(image.contiguous().numpy().tobytes())
                record.write(f"{'+'.join(players)} {iteration} {domain} {k} {content:08x}\n")


def step_with_faults(
    players: Mapping[str, Any],
    turns: Sequence[str],
    passes: Any,
    micro_batches: MicroBatches,
    iteration: int,
    runtime: Any,
    **options: Any,
) -> StepResult:
    now = faults(iteration // int(os.environ.get("IMAGES_PER_STEP", "4")), runtime.rank)
    if "sleep" in now:
        time.sleep(10_000)
    if "kill" in now:
        os.kill(os.getpid(), signal.SIGKILL)
    seen = Seen(micro_batches, lambda batch: spoil_and_record(batch, "nan" in now, players, iteration, runtime.rank))
    result = train_step(players, turns, passes, seen, iteration, runtime, **options)
    if "drift" in now:
        *_, network = list(players.values())[-1].networks.values()
        weight = max(network.parameters(), key=lambda parameter: len(parameter)).data
        weight[:2] = weight[:2].flip(0)
    return result


def write_until_killed(*arguments: Any, **options: Any) -> Any:
    global written
    if f"{os.environ.get('RANK')}:{written}" == os.environ["KILL_AT_TAR"]:
        os.kill(os.getpid(), signal.SIGKILL)
    written += 1
    return write_shard(*arguments, **options)


def finished_later(folder: Path, *arguments: Any, **options: Any) -> Any:
    deadline = time.monotonic() + 30
    while os.environ.get("RANK") == os.environ["LATE"] and time.monotonic() < deadline:
        if any(folder.glob("*.record.json")):
            break
        time.sleep(0.05)
    return finished(folder, *arguments, **options)


if __name__ == "__main__":
    written = 0
    if "LATE" in os.environ:
        derived_set.finished = finished_later
    if "KILL_AT_TAR" in os.environ:
        derived_set.write_shard = write_until_killed
    torch.set_num_threads(1)
    loop.train_step = step_with_faults
    main()
