"""What each rank of test_backends.py does: the same steps on DDP and on every other backend, compared on the spot."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cirn_dist.engine.backends import build_player
from cirn_dist.engine.players import Player
from cirn_dist.engine.reductions import Reduce, all_reduce, in_rank_order
from cirn_dist.engine.join import join
from cirn_dist.engine.runtime import Runtime
from cirn_dist.engine.step import Batch, Pass, train_step
from cirn_dist.engine.traffic import Traffic

STEPS, A = 4, 2
TURNS = ("painter", "painter", "critic")
BACKENDS = {
    "ddp": ("ddp", 1),
    "exact": ("exact", 1),
    "zero 0": ("deepspeed", 0),
    "zero 1": ("deepspeed", 1),
    "zero 2": ("deepspeed", 2),
}


def networks() -> tuple[nn.Module, nn.Module]:
    """An odd number of parameters, so that a shard ends inside one; a norm with statistics; frozen weights."""
    torch.manual_seed(0)
    painter = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.Tanh(), nn.Conv2d(5, 3, 3, padding=2))
    painter[1].eval()
    painter[1].weight.requires_grad_(False)
    critic = nn.Sequential(nn.Conv2d(3, 7, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(7, 1, 3))
    return painter, critic


class Pair:
    """A painter with two passes per micro-batch, and a critic it has to please."""

    def __init__(self, runtime: Runtime, backend: str, *, scaler: bool = False) -> None:
        runtime.backend, runtime.zero_stage = BACKENDS[backend]
        painter, critic = networks()
        head = list(painter[3].parameters())
        body = [p for p in painter.parameters() if p.requires_grad and all(p is not q for q in head)]

        def sgd() -> torch.optim.Optimizer:
            groups = [{"params": body, "lr": 0.1}, {"params": head, "lr": 0.3}]
            return torch.optim.SGD(groups, momentum=0.9, weight_decay=0.01)

        def factor(iteration: int) -> float:
            return 1 / (1 + iteration)

        self.runtime = runtime
        self.players: dict[str, Player] = {
            "painter": build_player("painter", {"painter": painter}, sgd, factor, runtime, clip_norm=0.05),
            "critic": build_player(
                "critic", {"critic": critic}, lambda: torch.optim.Adam(critic.parameters(), 1e-2), factor, runtime
            ),
        }
        if scaler:
            for player in self.players.values():
                player.scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=2)

    def passes(self, batch: Batch, iteration: int) -> Iterator[Pass]:
        painter, critic = self.players["painter"], self.players["critic"]
        yield Pass({"copy": (painter("painter", batch["x"]) - batch["x"]).square().mean()})

        fake = painter("painter", painter("painter", batch["x"]))  # two forwards, one backward
        yield Pass({"please": 1 - critic.raw("critic")(fake).mean()})

        on_real, on_fake = critic("critic", batch["x"]), critic("critic", fake.detach())
        yield Pass({"judge": batch.get("bad", 1.0) * ((on_real - 1).square().mean() + on_fake.square().mean())})

    def train(self, steps: range, *, bad_at: int = -1) -> list[list[str]]:
        """Train on batches that are a function of the step; returns whose update was skipped in each."""
        skipped = []
        for step in steps:
            for player in self.players.values():
                player.set_rate(step)
            batches = [self.batch(step, micro, step == bad_at) for micro in range(A)]
            result = train_step(self.players, TURNS, self.passes, batches, step, self.runtime)
            skipped.append(result.skipped)
        return skipped

    def batch(self, step: int, micro: int, bad: bool) -> Batch:
        k = (step * A + micro) * self.runtime.world + self.runtime.rank
        batch: Batch = {"x": torch.randn(1, 3, 9, 8, generator=torch.Generator().manual_seed(k))}
        if bad and self.runtime.rank == 1 and micro == 0:
            batch["bad"] = float("inf")
        return batch

    def weights(self) -> dict[str, Tensor]:
        nets = {name: player.raw(name).state_dict() for name, player in self.players.items()}
        return {f"{name}.{key}": tensor.clone() for name, state in nets.items() for key, tensor in state.items()}

    def states(self) -> dict[str, dict[str, Tensor]]:
        return {
            name: {key: tensor.clone() for key, tensor in player.optimizer_state().items()}
            for name, player in self.players.items()
        }

    def take(self, weights: dict[str, Tensor], states: dict[str, dict[str, Tensor]]) -> None:
        """Go on from another pair's checkpoint, in the loop's order: networks, then optimizers."""
        for name, player in self.players.items():
            own = {key.removeprefix(f"{name}."): t for key, t in weights.items() if key.startswith(f"{name}.")}
            player.raw(name).load_state_dict(own)
            player.load_optimizer_state(states[name])


def assert_same(found: Pair, expected: Pair, what: str) -> None:
    pairs = {"weights": (found.weights(), expected.weights())}
    for name, state in expected.states().items():
        pairs[f"{name}'s optimizer"] = (found.states()[name], state)
    for part, (ours, theirs) in pairs.items():
        assert ours.keys() == theirs.keys(), f"{what}, {part}: {ours.keys() ^ theirs.keys()}"
        for key, tensor in theirs.items():
            assert ours[key].shape == tensor.shape, f"{what}, {part}, {key}: {ours[key].shape}, not {tensor.shape}"
            worst = (ours[key].double() - tensor.double()).abs().max() / tensor.double().abs().max().clamp_min(1e-6)
            assert worst < 1e-5, f"{what}, {part}, {key}: differs by {worst:.1e} of its largest value"


def assert_formats(pair: Pair, what: str) -> None:
    """What an optimizer keeps of a parameter lies in memory as the parameter does: of a shard, as the shard."""
    for name, player in pair.players.items():
        for parameter in (p for settings in player.optimizer.param_groups for p in settings["params"]):
            kept = [value for value in player.optimizer.state[parameter].values() if torch.is_tensor(value) and value.dim()]
            assert kept, f"{what}, {name}: nothing is kept of a parameter"
            for value in kept:
                assert value.stride() == parameter.stride(), f"{what}, {name}: {value.stride()}, not {parameter.stride()}"


def check_parity(runtime: Runtime, backend: str) -> None:
    """Same weights and optimizer state after every kind of step, and none of a step that one rank spoiled."""
    ddp, other = Pair(runtime, "ddp"), Pair(runtime, backend)
    assert_same(other, ddp, "at the start")
    for pair in (ddp, other):
        assert pair.train(range(STEPS), bad_at=2) == [[], [], ["critic"], []], "one rank's overflow skips on both"
    assert_same(other, ddp, f"{backend} after {STEPS} steps")


def check_each_reads_the_other(runtime: Runtime, backend: str) -> None:
    """Half with one backend, half with the other, both ways: what one backend trains."""
    whole = Pair(runtime, "ddp")
    whole.train(range(STEPS))
    for first, second in (("ddp", backend), (backend, "ddp")):
        begun, resumed = Pair(runtime, first), Pair(runtime, second)
        begun.train(range(2))
        resumed.take(begun.weights(), begun.states())
        assert_same(resumed, begun, f"{first} read by {second}")
        assert_formats(resumed, f"{first} read by {second}")
        resumed.train(range(2, STEPS))
        assert_same(resumed, whole, f"{first} to step 2, {second} from there")


def check_scaler(runtime: Runtime, backend: str) -> None:
    """One player's overflow halves its own scale and leaves the other's to grow; scaling changes nothing else."""
    ddp, other = Pair(runtime, "ddp"), Pair(runtime, backend, scaler=True)
    for pair in (ddp, other):
        pair.train(range(STEPS), bad_at=1)
    assert_same(other, ddp, f"{backend}, scaled")
    scales = {name: player.scaler.get_scale() for name, player in other.players.items()}
    assert scales == {"painter": 1024.0, "critic": 256.0}, scales  # 256 * 2 * 2, and 256 / 2 * 2


def check_traffic(runtime: Runtime) -> None:
    """Timing the reductions changes no bit, and finds each gradient in one of them, whatever A is."""
    for reduce in (all_reduce, in_rank_order):  # of two ranks' numbers both find the same sum
        _check_traffic(runtime, reduce)


def _check_traffic(runtime: Runtime, reduce: Reduce) -> None:
    plain = Pair(runtime, "ddp")
    runtime.traffic = Traffic(runtime.device, reduce)
    timed = Pair(runtime, "ddp")
    for pair in (plain, timed):
        pair.train(range(2))
    costs, runtime.traffic = runtime.traffic.take(), None
    parameters = [p for player in timed.players.values() for p in player.parameters]
    assert costs["trainable_bytes"] == 4 * sum(p.numel() for p in parameters)
    assert costs["reduced_bytes"] == 2 * costs["trainable_bytes"], "two steps"
    assert 0 < costs["exposed_s"] <= costs["reduce_s"]
    assert all(torch.equal(tensor, timed.weights()[key]) for key, tensor in plain.weights().items())


def main() -> None:
    torch.set_num_threads(1)
    runtime = join("fp32")
    check_traffic(runtime)
    for backend in ("exact", "zero 0", "zero 1", "zero 2"):
        check_parity(runtime, backend)
        check_each_reads_the_other(runtime, backend)
        check_scaler(runtime, backend)
        if runtime.main:
            print(f"{backend} ok", flush=True)
    runtime.leave(0)


main()
