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
from cirn_dist.engine.join import join
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


class Crossed(nn.Module):
    """The network that comes first among the parameters is used last: their gradients are ready in another order."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last, self.first = (
            nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 3, 3, padding=1)) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        after = self.first(x)
        return self.last(x) * after + after.square()


def crossed(runtime: Runtime, steps: range, player: DdpPlayer | None = None) -> DdpPlayer:
    """Train such a network, from where another player is."""
    net = Crossed()
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    trained = DdpPlayer("crossed", {"net": net}, lambda: sgd, lambda i: 1.0, runtime)
    if player is not None:
        net.load_state_dict(player.raw("net").state_dict())
        trained.load_optimizer_state({name: tensor.clone() for name, tensor in player.optimizer_state().items()})

    def passes(batch: Batch, iteration: int) -> Iterator[Pass]:
        yield Pass({"loss": trained("net", batch["x"]).square().mean()})

    for step in steps:
        k = step * runtime.world + runtime.rank
        batch = {"x": torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(k))}
        train_step({"crossed": trained}, ["crossed"], passes, [batch], step, runtime)
    return trained


def check_resumed(runtime: Runtime) -> bool:
    """Whether a network that another process has trained for 3 steps is trained on to the same bits."""
    whole, resumed = crossed(runtime, range(6)), crossed(runtime, range(3, 6), crossed(runtime, range(3)))
    return all(torch.equal(p, q) for p, q in zip(whole.parameters, resumed.parameters, strict=True))


def main(folder: Path) -> None:
    """Do it all on the same ranks: starting processes is what takes the time."""
    torch.set_num_threads(1)
    runtime = join("fp32")
    found: dict[str, Any] = {"world": runtime.world, "resumed": check_resumed(runtime)}
    runtime.ordered = False  # DDP has one hook, and here it counts
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
