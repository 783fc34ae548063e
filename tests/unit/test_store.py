"""Checkpoints: whole or absent, damaged ones passed over, old ones deleted last."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from cirn_dist.checkpoint import store as store_module
from cirn_dist.checkpoint.state import load_component, load_optimizer, optimizer_tensors
from cirn_dist.checkpoint.store import Store, verify
from cirn_dist.errors import CheckpointError

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

    monkeypatch.setattr(store_module, "sync", full)
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
