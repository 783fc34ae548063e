"""Checkpoints: whole or absent, damaged ones passed over, old ones deleted last."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from cirn_dist.checkpoint import folder as folder_module
from cirn_dist.checkpoint.hostcopy import HostCopy
from cirn_dist.checkpoint.state import load_component, load_optimizer, optimizer_tensors
from cirn_dist.checkpoint.store import Checkpoint, Store, verify
from cirn_dist.errors import CheckpointError
from cirn_dist.rundir.settings import clear_leftovers

STATE = {"step": 3, "finished": False}


def components(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"net": {"w": torch.full((3, 2), value), "n": torch.tensor(7)}, "optimizer": {}}


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    Store(tmp_path).save(3, components(1.5), STATE)
    found = Store(tmp_path).latest()
    assert found is not None
    assert found.state == STATE
    torch.testing.assert_close(found.read("net"), components(1.5)["net"])
    assert found.read("optimizer") == {}
    with pytest.raises(CheckpointError, match="no component 'other'; it has: net, optimizer"):
        found.read("other")


def test_the_newest_k_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=2)
    for step in (1, 2, 10, 3):
        store.save(step, components(step), {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000003", "step-00000010"]
    with pytest.raises(ValueError, match="at least 2"):
        Store(tmp_path, keep=1)


@pytest.mark.parametrize("name", ["net.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_reported_and_passed_over(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    for step in (1, 2):
        store.save(step, components(step), {"step": step})
    file = tmp_path / "step-00000002" / name
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "truncate":
        file.write_bytes(data[:-1])
    else:
        file.unlink()
    found = store.latest()
    assert found is not None
    assert found.state == {"step": 1}
    assert "step-00000002 is passed over" in caplog.text
    assert verify(tmp_path / "step-00000001") is None


def test_a_failed_save_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.save(1, components(1), {"step": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "sync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        store.save(2, components(2), {"step": 2})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    latest = store.latest()
    assert latest is not None
    assert latest.state == {"step": 1}


def test_a_kill_before_the_rename_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save(1, components(1), STATE)
    assert store.latest() is None


def test_best_and_every_n_iterations_stay_beside_the_newest(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=2, keep_every=10)
    for step, score in ((1, 0.1), (2, 0.5), (3, 0.5), (5, None), (6, 0.2), (7, None), (8, 0.3), (9, None)):
        state = {"iteration": 2 * step} | ({} if score is None else {"score": score})
        store.save(step, components(step), state)
    why = {path.name: reasons for path, reasons in store.reasons().items()}
    assert why == {
        "step-00000009": ["newest"],
        "step-00000008": ["newest"],
        "step-00000005": ["every"],  # iteration 10; 20 is not reached
        "step-00000002": ["best"],  # the earlier of two equals
    }


def test_a_damaged_one_does_not_count_as_kept(tmp_path: Path) -> None:
    """Of three with the newest damaged, a save deletes none of the two valid ones before two newer are valid."""
    store = Store(tmp_path)
    for step in (1, 2, 3):
        store.save(step, components(step), {"step": step})
    (tmp_path / "step-00000003/state.json").write_text("{}")
    store.save(4, components(4), {"step": 4})
    names = [path.name for path in store.paths()]
    assert names == ["step-00000004", "step-00000003", "step-00000002"]
    assert store.reasons()[tmp_path / "step-00000003"] == ["damaged"]
    store.save(5, components(5), {"step": 5})
    assert [path.name for path in store.paths()] == ["step-00000005", "step-00000004"]


def test_reading_compares_the_checksum(tmp_path: Path) -> None:
    saved = Store(tmp_path).save(1, components(1), {"step": 1})
    file = saved.path / "net.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"net\.safetensors: is damaged"):
        saved.read("net")
    with pytest.raises(CheckpointError, match=r"net\.safetensors is damaged"):
        Checkpoint.open(saved.path)


def test_what_a_kill_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    Store(tmp_path / "adapt/checkpoints").save(1, components(1), {"step": 1})
    half = tmp_path / "adapt/checkpoints/.tmp-step-00000002/net.safetensors"
    half.parent.mkdir()
    half.write_bytes(b"half")
    (tmp_path / ".results.json.17.partial").write_bytes(b"half")
    (tmp_path / ".lock-000001").write_bytes(b"whole")
    clear_leftovers(tmp_path)
    assert [path.name for path in (tmp_path / "adapt/checkpoints").iterdir()] == ["step-00000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock-000001", "adapt"]


def test_a_host_copy_keeps_what_was_there_when_it_was_taken() -> None:
    weight = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    before, copy = weight.clone(), HostCopy()
    first = copy.take({"net": {"w": weight, "n": torch.tensor(3)}})
    weight.add_(1)
    copy.wait()
    assert torch.equal(first["net"]["w"], before)
    assert first["net"]["w"].stride() == before.stride(), "rearranging is left to the writer"
    again = copy.take({"net": {"w": weight, "n": torch.tensor(4)}})
    assert again["net"]["w"].data_ptr() == first["net"]["w"].data_ptr(), "the memory is used again"
    assert torch.equal(again["net"]["w"], weight)
    grown = copy.take({"net": {"w": weight[:2]}})
    assert torch.equal(grown["net"]["w"], weight[:2])


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_goes_on_bit_for_bit(kind: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    settings = {"lr": 0.1, "momentum": 0.9} if kind is torch.optim.SGD else {"lr": 0.1}

    def make() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        return net, kind(net.parameters(), **settings)

    def step(net: torch.nn.Linear, optimizer: torch.optim.Optimizer, i: int) -> None:
        optimizer.zero_grad()
        net(torch.full((1, 3), float(i))).square().sum().backward()
        optimizer.step()

    net, optimizer = make()
    for i in range(3):
        step(net, optimizer, i)
    saved = Store(tmp_path).save(3, {"net": net.state_dict(), "o": optimizer_tensors(optimizer)}, {})
    other, resumed = make()
    load_component(other, saved, "net")
    load_optimizer(resumed, saved.read("o"))
    for i in range(3, 6):
        step(net, optimizer, i)
        step(other, resumed, i)
    assert torch.equal(net.weight, other.weight)


def test_a_component_of_another_architecture_is_named(tmp_path: Path) -> None:
    saved = Store(tmp_path).save(1, {"net": torch.nn.Linear(3, 2).state_dict()}, {})
    with pytest.raises(CheckpointError, match=r"net's weight is \(2, 3\), the network needs \(2, 4\)"):
        load_component(torch.nn.Linear(4, 2), saved, "net")
    with pytest.raises(CheckpointError, match=r"net lacks 0.weight"):
        load_component(torch.nn.Sequential(torch.nn.Linear(3, 2)), saved, "net")
