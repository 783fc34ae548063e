"""What each rank of test_step_ranks.py does: counts what a step sends, and what one rank's bad gradient does to all."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from cirn_dist.engine.players import DdpPlayer
from cirn_dist.engine.runtime import Runtime
from cirn_dist.engine.step import Batch, Pass, StepResult, train_step


def network() -> nn.Sequential:
    """Several layers, one of them frozen: only what is trained may be sent."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4), nn.Linear(4, 1))
    net[2].requires_grad_(False)
    return net


class Game:
    """Two players with two passes for the first, as stage 2 has."""

    def __init__(self, runtime: Runtime, clip_norm: float | None = None) -> None:
        self.runtime = runtime
        self.players = {name: self.player(name, clip_norm) for name in ("a", "b")}
        self.sent: dict[str, list[int]] = {"a": [], "b": []}
        for name, player in self.players.items():
            player.module.register_comm_hook(None, self.counting(name))

    def player(self, name: str, clip_norm: float | None) -> DdpPlayer:
        net = network()
        sgd = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
        return DdpPlayer(name, {name: net}, lambda: sgd, lambda i: 1.0, self.runtime, clip_norm=clip_norm)

    def counting(self, name: str) -> Any:
        def hook(_, bucket):  # type: ignore[no-untyped-def]  # DDP refuses annotations that are strings
            self.sent[name].append(bucket.buffer().nbytes)
            return allreduce_hook(None, bucket)

        return hook

    def step(self, accumulation: int, bad: float = 0.0) -> StepResult:
        a, b = self.players["a"], self.players["b"]

        def passes(batch: Batch, iteration: int) -> Iterator[Pass]:
            yield Pass({"supervised": a("a", batch["x"]).square().mean() + bad * a("a", batch["x"]).mean()})
            out = a("a", batch["x"])
            yield Pass({"fooling": b.raw("b")(out.expand(-1, 6)).mean()})
            yield Pass({"judging": b("b", out.detach().expand(-1, 6)).square().mean()})

        x = torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(1))
        mine = [{"x": x[(micro * self.runtime.world + self.runtime.rank) % 4]} for micro in range(accumulation)]
        return train_step(self.players, ("a", "a", "b"), passes, mine, 0, self.runtime)

    def weights(self) -> dict[str, list[float]]:
        return {
            name: torch.cat([p.detach().flatten() for p in player.parameters]).tolist()
            for name, player in self.players.items()
        }


def main(folder: Path) -> None:
    """Do it all on the same ranks: starting processes is what takes the time."""
    torch.set_num_threads(1)
    runtime = Runtime("fp32")
    found: dict[str, Any] = {"world": runtime.world}
    for accumulation in (1, 2, 5):
        game = Game(runtime)
        calls: list[int] = []
        all_reduce = dist.all_reduce
        dist.all_reduce = lambda tensor, *args, calls=calls, **kw: (calls.append(tensor.nbytes), all_reduce(tensor, *args, **kw))[1]
        game.step(accumulation)
        dist.all_reduce = all_reduce
        trainable = sum(p.nbytes for p in game.players["a"].parameters)
        found[f"sent_{accumulation}"] = {"players": game.sent, "trainable": trainable, "all": calls}

    for bad in ("nan", "inf"):
        game = Game(runtime)
        before = game.weights()
        result = game.step(2, bad=float(bad) if runtime.rank == 1 else 0.0)
        found[bad] = {"skipped": result.skipped, "a_kept": game.weights()["a"] == before["a"],
                      "b_moved": game.weights()["b"] != before["b"]}  # fmt: skip
        found[bad]["after"] = game.step(2).skipped

    game = Game(runtime, clip_norm=1e-3)
    before = game.weights()
    game.step(1)
    after = game.weights()
    found["moved"] = {name: (torch.tensor(after[name]) - torch.tensor(before[name])).norm().item() for name in after}
    found["weights"] = after
    (folder / f"rank-{runtime.rank}.json").write_text(json.dumps(found), encoding="utf-8")
    runtime.leave(0)


main(Path(sys.argv[1]))
