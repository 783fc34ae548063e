"""Saving in the background, resuming in no time: what training is delayed by, and what a failed write does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stagerun import stage_run, stop_in_the_first_step
from torch import nn

from cirn_dist.checkpoint.store import Checkpoint, Store, verify
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.backends import build_player
from cirn_dist.engine.loop import fit
from cirn_dist.engine.players import Player
from cirn_dist.engine.run import Run
from cirn_dist.engine.saving import Saver
from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.rundir.saves import read_saves
from cirn_dist.stages.domains import Domains, open_domains
from cirn_dist.stages.source import supervised


def saver_of(run: Run, **parts: Any) -> tuple[Saver, nn.Linear]:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    player = build_player("p", {"net": net}, lambda: torch.optim.SGD(net.parameters(), 0.1), lambda _: 1.0, run.runtime)
    saver = Saver(run, "stage", {"p": player}, {}, **({"data": {"source": "a" * 64}, "parents": {}} | parts))
    saver.resume()
    return saver, net


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, threads = threading.Event(), []
    write = Store.save

    def slow(store: Store, *arguments: Any) -> Checkpoint:
        threads.append(threading.current_thread())
        assert allowed.wait(60)
        return write(store, *arguments)

    monkeypatch.setattr(Store, "save", slow)
    run = stage_run(tmp_path)
    saver, net = saver_of(run)
    with saver:
        before = net.weight.detach().clone()
        saver.save(1, finished=False)
        with torch.no_grad():
            net.weight.add_(1)  # the next step
        assert run.latest("stage") is None, "nothing is written yet"
        assert read_saves(tmp_path / "stage") == [], "and nothing is reported"
        threading.Timer(0.2, allowed.set).start()
        saver.save(2, finished=False)  # waits for the first
        first = run.latest("stage")
        assert first is not None
        saver.save(3, finished=True, wait=True)
    paths = run.store("stage").paths()
    assert [path.name for path in paths] == ["step-00000003", "step-00000002"]
    assert first.state["step"] in (1, 2)
    assert threads
    assert threading.main_thread() not in threads
    saved = Checkpoint.open(paths[1]).read("net")["weight"]
    assert torch.equal(saved, before + 1)
    reported = read_saves(tmp_path / "stage")
    assert [save.step for save in reported] == [1, 2, 3]
    assert reported[1].waited_ms > 100
    assert all(save.stalled_ms < 100 and save.written_s > 0 and save.bytes > 0 for save in reported)


def test_what_is_saved_is_the_step_it_was_saved_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that change while they are written do not reach the checkpoint."""
    run = stage_run(tmp_path)
    saver, net = saver_of(run)
    copied = threading.Event()
    wait = saver._copy.wait
    monkeypatch.setattr(saver._copy, "wait", lambda: copied.wait(60) and wait())
    with saver:
        before = net.weight.detach().clone()
        saver.save(1, finished=False)
        with torch.no_grad():
            net.weight.zero_()
        copied.set()
    latest = run.latest("stage")
    assert latest is not None
    assert torch.equal(latest.read("net")["weight"], before)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_resumed_optimizers_state_lies_in_memory_as_its_parameters_do(kind: str, tmp_path: Path) -> None:
    def player_of(run: Run) -> Player:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1))

        def optimizer() -> torch.optim.Optimizer:
            if kind == "adam":
                return torch.optim.Adam(net.parameters(), 0.1)
            return torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)

        return build_player("p", {"net": net}, optimizer, lambda _: 1.0, run.runtime)

    def formats(player: Player) -> list[tuple[tuple[int, ...], ...]]:
        """Return the strides of each parameter and of what is kept of it."""
        return [
            (p.stride(), *(value.stride() for value in player.optimizer.state[p].values() if value.dim()))
            for p in player.parameters
        ]

    run, parts = stage_run(tmp_path), ("stage", {}, {"source": "a" * 64}, {})
    began, resumed = player_of(run), player_of(run)
    began("net", torch.randn(2, 3, 8, 8)).sum().backward()
    began.update(finite=True)
    with Saver(run, parts[0], {"p": began}, *parts[1:]) as saver:
        saver.resume()
        saver.save(1, finished=False, wait=True)
    with Saver(run, parts[0], {"p": resumed}, *parts[1:]) as saver:
        assert saver.resume() == 1
    assert formats(resumed) == formats(began)
    for strides in formats(resumed):
        assert len(strides) == {"sgd": 2, "adam": 3}[kind]
        assert len(set(strides)) == 1, strides
    assert formats(resumed)[0][0] != nn.Conv2d(3, 4, 3).weight.stride(), "channels last"
    state = began.optimizer_state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in resumed.optimizer_state().items())


def fail_at(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write, count = Store.save, itertools.count()

    def save(store: Store, *arguments: Any) -> Checkpoint:
        if next(count) == nth:
            raise CheckpointError("cannot save: no space", where=store.folder)
        return write(store, *arguments)

    monkeypatch.setattr(Store, "save", save)


@pytest.fixture
def source(tmp_path: Path) -> tuple[Callable[..., Run], Domains]:
    run = stage_run(tmp_path, "engine.images_per_step=1", "engine.checkpoint_every=2", "engine.log_every=1")
    return lambda *overrides: stage_run(
        tmp_path, "engine.images_per_step=1", "engine.checkpoint_every=2", "engine.log_every=1", *overrides
    ), open_domains(run)


def test_a_write_that_failed_ends_the_training_at_the_next_step(
    source: tuple[Callable[..., Run], Domains], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, domains = source
    run = make()
    fail_at(1, monkeypatch)
    with pytest.raises(CheckpointError, match="no space"):
        fit(supervised(run, "source", domains.source, run.config.source), run)
    steps = (run.stage_folder("source") / "metrics.jsonl").read_text().splitlines()
    assert 4 <= len(steps) <= 6, "long before the next save would have told"
    latest = run.latest("source")
    assert latest is not None
    assert latest.state["step"] == 2
    monkeypatch.undo()
    fit(supervised(run, "source", domains.source, run.config.source), run)
    assert run.is_trained("source")


def test_the_last_write_that_failed_is_an_error_too(
    source: tuple[Callable[..., Run], Domains], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, domains = source
    run = make("source.iterations=2")
    fail_at(0, monkeypatch)
    with pytest.raises(CheckpointError, match="no space"):
        fit(supervised(run, "source", domains.source, run.config.source), run)


def test_a_resumed_step_99999_begins_as_fast_as_step_0(
    source: tuple[Callable[..., Run], Domains], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in samples read and in windows of the order computed: nothing is replayed."""
    make, domains = source
    run = make("source.iterations=100000", "engine.checkpoint_every=100000")
    reads = []
    read = ShardSet.read
    monkeypatch.setattr(ShardSet, "read", lambda shards, i: reads.append(i) or read(shards, i))

    stop_in_the_first_step(run, monkeypatch)
    with pytest.raises(Exception, match="stopped at iteration 1 and saved"):
        fit(supervised(run, "source", domains.source, run.config.source), run)
    assert len(reads) == 2, "its own, and one ahead"
    run.stop.reason = None
    first = run.latest("source")
    assert first is not None
    components = {name: first.read(name) for name in first.components}
    run.store("source").save(99_999, components, first.state | {"step": 99_999, "iteration": 99_999})

    reads.clear()
    again = make("source.iterations=100000", "engine.checkpoint_every=100000")
    fit(supervised(again, "source", domains.source, again.config.source), again)
    assert len(reads) == 1
    latest = again.latest("source")
    assert latest is not None
    assert (latest.state["step"], latest.state["finished"]) == (100_000, True)


def test_other_data_and_other_parents_are_refused_by_name(tmp_path: Path) -> None:
    run = stage_run(tmp_path)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    saver, _ = saver_of(run, parents={"imported": str(weights)})
    with saver:
        saver.save(1, finished=False, wait=True)
    saver_of(run, parents={"imported": str(weights)})
    with pytest.raises(ConfigError, match=r"data\.source was a{12}\.\.\., is b{12}\.\.\.;.*--allow data\.source"):
        saver_of(run, data={"source": "b" * 64}, parents={"imported": str(weights)})
    weights.write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"parent\.imported was"):
        saver_of(run, parents={"imported": str(weights)})
    allowed = Run(run.config, run.folder, run.runtime, run.progress, run.stop, allow=("parent",))
    saver_of(allowed, parents={"imported": str(weights)})
    assert "parent.imported" in (tmp_path / "changes.jsonl").read_text()
    assert verify(run.store("stage").paths()[0]) is None
