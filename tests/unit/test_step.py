"""The step: the gradient of B single images, one player's pass leaves the other alone, non-finite steps are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from cirn_dist.engine.join import join
from cirn_dist.engine.players import DdpPlayer
from cirn_dist.engine.replicas import checksum
from cirn_dist.engine.runtime import Runtime
from cirn_dist.engine.step import Batch, Losses, Pass, StepResult, train_step


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return join("fp32")


def linear_player(name: str, runtime: Runtime, *, lr: float = 0.5, clip_norm: float | None = None) -> DdpPlayer:
    net = nn.Linear(2, 1, bias=False)
    nn.init.ones_(net.weight)
    sgd = torch.optim.SGD(net.parameters(), lr)
    return DdpPlayer(name, {name: net}, lambda: sgd, lambda i: 1.0, runtime, clip_norm=clip_norm)


def weight(player: DdpPlayer) -> np.ndarray:
    return player.raw(player.name).weight.detach().numpy().copy()


Turn = tuple[str, Callable[[Batch, int], Losses]]


def squares(player: DdpPlayer) -> Turn:
    return player.name, lambda batch, iteration: {"square": player(player.name, batch["x"]).square().mean()}


def stepped(runtime: Runtime, players: list[DdpPlayer], turns: list[Turn], batches: list[Batch]) -> StepResult:
    """Do one step whose passes have nothing to do with each other."""

    def passes(batch: Batch, iteration: int) -> Iterator[Pass]:
        for _, losses in turns:
            yield Pass(losses(batch, iteration))

    return train_step(
        {player.name: player for player in players}, [name for name, _ in turns], passes, batches, 0, runtime
    )


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_a_step_is_the_mean_gradient_of_its_images(micro: int, runtime: Runtime) -> None:
    x = np.array([[1, 2], [0, 1], [3, -1], [2, 2]], np.float64)
    single = [2 * (row @ np.ones(2)) * row for row in x]  # d/dw (w x)^2 at w = 1
    expected = 1 - 0.5 * np.mean(single, axis=0)
    player = linear_player("a", runtime)
    batches = [{"x": torch.tensor(x[i : i + micro], dtype=torch.float32)} for i in range(0, 4, micro)]
    result = stepped(runtime, [player], [squares(player)], batches)
    assert weight(player)[0] == pytest.approx(expected)
    assert result.losses["square"] == pytest.approx(np.mean((x @ np.ones(2)) ** 2))
    assert not result.skipped


def test_a_pass_gives_the_other_player_no_gradient_but_lets_it_through(runtime: Runtime) -> None:
    a, b = linear_player("a", runtime), linear_player("b", runtime)

    def through_b(batch: Batch, iteration: int) -> Losses:
        out = a("a", batch["x"])
        return {"loss": b.raw("b")(torch.cat([out, out], 1)).mean()}

    stepped(runtime, [a, b], [("a", through_b)], [{"x": torch.tensor([[1.0, 3.0]])}])
    assert weight(a)[0] == pytest.approx([1 - 0.5 * 2, 1 - 0.5 * 6]), "through b's two unit weights"
    assert (weight(b) == 1).all()
    assert b.raw("b").weight.requires_grad, "trainable again afterwards"


def test_both_players_step_from_before_either_update(runtime: Runtime) -> None:
    a, b = linear_player("a", runtime), linear_player("b", runtime)
    seen = []

    def second(batch: Batch, iteration: int) -> Losses:
        seen.append(weight(a))
        return {"b": b("b", batch["x"]).mean()}

    stepped(runtime, [a, b], [squares(a), ("b", second)], [{"x": torch.ones(1, 2)}])
    assert (seen[0] == 1).all()
    assert weight(b)[0] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_gradient_skips_that_player_only(bad: float, runtime: Runtime) -> None:
    a, b = linear_player("a", runtime), linear_player("b", runtime)

    def poisoned(batch: Batch, iteration: int) -> Losses:
        return {"a": a("a", batch["x"]).mean() * bad}

    result = stepped(runtime, [a, b], [("a", poisoned), squares(b)], [{"x": torch.ones(1, 2)}])
    assert result.skipped == ["a"]
    assert (weight(a) == 1).all()
    assert (weight(b) != 1).all()
    stepped(runtime, [a, b], [squares(a), squares(b)], [{"x": torch.ones(1, 2)}])
    assert np.isfinite(weight(a)).all(), "the bad gradient did not stay behind"


def test_one_players_overflow_leaves_the_others_scale(runtime: Runtime) -> None:
    a, b = linear_player("a", runtime), linear_player("b", runtime)
    for player in (a, b):
        player.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=10)

    def overflow(batch: Batch, iteration: int) -> Losses:
        return {"a": a("a", batch["x"]).mean() * 1e38 * 1e3}

    stepped(runtime, [a, b], [("a", overflow), squares(b)], [{"x": torch.ones(1, 2)}])
    assert (a.scaler.get_scale(), b.scaler.get_scale()) == (512.0, 1024.0)
    assert (weight(a) == 1).all()
    assert weight(b)[0] == pytest.approx([-1, -1]), "1 - 0.5 * 2 * 2: unscaled before the update"


def test_a_loss_that_is_not_finite_skips_though_its_gradients_are(runtime: Runtime) -> None:
    player = linear_player("a", runtime)

    def infinite(batch: Batch, iteration: int) -> Losses:
        return {"a": player("a", batch["x"]).mean(), "constant": torch.tensor(float("inf"))}

    result = stepped(runtime, [player], [("a", infinite)], [{"x": torch.ones(1, 2)}] * 2)
    assert result.skipped == ["a"]
    assert (weight(player) == 1).all()


def test_a_parameter_in_two_groups_or_in_none_is_refused(runtime: Runtime) -> None:
    net, forgotten = nn.Linear(2, 1, bias=False), nn.Linear(2, 1)
    with pytest.warns(UserWarning, match="duplicate"):
        twice = torch.optim.SGD([net.weight, net.weight], 0.1)
    with pytest.raises(ValueError, match=r"a: net\.weight is 2 times"):
        DdpPlayer("a", {"net": net}, lambda: twice, lambda i: 1.0, runtime)
    once = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.raises(ValueError, match=r"a: other\.weight is 0 times"):
        DdpPlayer("a", {"net": net, "other": forgotten}, lambda: once, lambda i: 1.0, runtime)
    DdpPlayer("a", {"net": net, "other": forgotten.requires_grad_(False)}, lambda: once, lambda i: 1.0, runtime)


def test_clipping_is_per_player(runtime: Runtime) -> None:
    a, b = linear_player("a", runtime, clip_norm=1.0), linear_player("b", runtime)
    stepped(runtime, [a, b], [squares(a), squares(b)], [{"x": torch.tensor([[3.0, 4.0]])}])
    assert weight(a)[0] == pytest.approx([1 - 0.5 * 0.6, 1 - 0.5 * 0.8], rel=1e-5)
    assert weight(b)[0] == pytest.approx([1 - 0.5 * 42, 1 - 0.5 * 56])


def test_what_is_observed_is_averaged_and_trains_nothing(runtime: Runtime) -> None:
    player, plain = linear_player("a", runtime), linear_player("a", runtime)

    def watched(batch: Batch, iteration: int) -> Iterator[Pass]:
        def observe() -> Losses:
            assert not torch.is_grad_enabled()
            return {"mean_x": batch["x"].mean(), "net": player.raw("a").weight.sum()}

        yield Pass({"square": player("a", batch["x"]).square().mean()}, observe)

    batches = [{"x": torch.full((1, 2), value)} for value in (1.0, 4.0)]
    result = train_step({"a": player}, ["a"], watched, batches, 0, runtime)
    unwatched = stepped(runtime, [plain], [squares(plain)], batches)
    assert result.observed == pytest.approx({"mean_x": 2.5, "net": 2.0})
    assert result.losses == unwatched.losses
    assert unwatched.observed == {}
    assert (weight(player) == weight(plain)).all()


def test_a_local_variable_of_one_pass_is_there_in_the_next(runtime: Runtime) -> None:
    a, b = linear_player("a", runtime), linear_player("b", runtime)

    def passes(batch: Batch, iteration: int) -> Iterator[Pass]:
        made = a("a", batch["x"])
        yield Pass({"a": made.mean()})
        yield Pass({"b": b("b", torch.cat([made, made], 1).detach()).mean()})

    train_step({"a": a, "b": b}, ["a", "b"], passes, [{"x": torch.tensor([[1.0, 3.0]])}], 0, runtime)
    assert weight(a)[0] == pytest.approx([1 - 0.5 * 1, 1 - 0.5 * 3])
    assert weight(b)[0] == pytest.approx([1 - 0.5 * 4, 1 - 0.5 * 4]), "a's output before its update is 4"


def test_a_pass_without_a_turn_is_an_error_not_a_loss_left_out(runtime: Runtime) -> None:
    player = linear_player("a", runtime)
    both = [squares(player), squares(player)]

    def passes(batch: Batch, iteration: int) -> Iterator[Pass]:
        for _, losses in both:
            yield Pass(losses(batch, iteration))

    with pytest.raises(AssertionError, match="more passes than its 1 turns"):
        train_step({"a": player}, ["a"], passes, [{"x": torch.ones(1, 2)}], 0, runtime)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_checksum_sees_one_bit_and_what_a_sum_does_not(dtype: torch.dtype) -> None:
    values = torch.tensor([[1.0, -2.0, 0.5], [4.0, 0.0, 3.0]], dtype=dtype)

    def hashed(changed: torch.Tensor) -> int:
        net = nn.Linear(3, 2, bias=False)
        net.weight = nn.Parameter(changed)
        return int(checksum(net))

    swapped, moved, cancelling, negative_zero = (values.clone() for _ in range(4))
    swapped[0, 0], swapped[0, 1] = values[0, 1], values[0, 0]
    moved[:] = values.flip(0)
    cancelling[0, 0] += 1
    cancelling[0, 1] -= 2
    cancelling[0, 2] += 1
    negative_zero[1, 1] = -0.0
    hashes = [hashed(x) for x in (values, swapped, moved, cancelling, negative_zero)]
    assert len(set(hashes)) == len(hashes)
    assert hashed(values.clone()) == hashes[0]


def test_the_checksum_does_not_depend_on_the_layout_in_memory() -> None:
    net = nn.Conv2d(3, 5, 3)
    before = int(checksum(net))
    assert int(checksum(net.to(memory_format=torch.channels_last))) == before
