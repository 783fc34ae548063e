"""What saving and resuming cost on this machine and this file system, at the size of stage 2."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from cirn_dist.checkpoint.folder import forget_checksums
from cirn_dist.engine.players import Player
from cirn_dist.engine.run import Run
from cirn_dist.engine.saving import Saver
from cirn_dist.rundir.saves import read_saves
from cirn_dist.stages.adapt.adversary import Adversary
from cirn_dist.stages.segmenter import build_segmenter, segmenter_player

STAGE = "bench"


@dataclass(frozen=True)
class SaveBench:
    """Medians over the saves after the first, which also pays for the host memory.

    Attributes:
        parameters: of all networks, in numbers.
        bytes: of one checkpoint, optimizers included.
        first_stall_ms, stall_ms: what a save delays training by.
        write_s: until it is on the disk, meanwhile training goes on.
        foreground_s: stall and write together: what a save in the foreground would delay training by.
        resume_s: to find, verify and load the newest checkpoint.
    """

    device: str
    parameters: int
    bytes: int
    first_stall_ms: float
    stall_ms: float
    write_s: float
    foreground_s: float
    resume_s: float


def bench_saves(run: Run, saves: int = 5) -> SaveBench:
    """Save and resume segmenter and discriminator of stage 2 with their optimizers, in the folder of `run`.

    Args:
        saves: how often, after the first.
    """
    players = _players(run)
    with Saver(run, STAGE, players, {}, {}, {}) as saver:
        saver.resume()
        for step in range(1, saves + 2):
            for player in players.values():
                _update(player)
            saver.save(step, finished=False)
            saver.wait()  # what a save costs without another one on its heels
    first, *rest = read_saves(run.stage_folder(STAGE))
    forget_checksums()
    with Saver(run, STAGE, _players(run), {}, {}, {}) as again:
        began = time.perf_counter()
        again.resume()
        resumed = time.perf_counter() - began
    return SaveBench(
        device=torch.cuda.get_device_name() if run.runtime.device.type == "cuda" else "CPU",
        parameters=sum(p.numel() for player in players.values() for p in player.parameters),
        bytes=first.bytes,
        first_stall_ms=first.stalled_ms,
        stall_ms=statistics.median(save.stalled_ms for save in rest),
        write_s=statistics.median(save.written_s for save in rest),
        foreground_s=statistics.median(save.stalled_ms / 1000 + save.written_s for save in rest),
        resume_s=resumed,
    )


def _players(run: Run) -> dict[str, Player]:
    settings = run.config.adapt
    segmenter = build_segmenter(run, with_acm=run.config.model.with_acm)
    player = segmenter_player(run, segmenter, settings)
    return {"segmenter": player, "discriminator": Adversary(run, segmenter, settings).player}


def _update(player: Player) -> None:
    """Step the optimizer, so that it has its state."""
    for parameter in player.parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    player.update(finite=True)
