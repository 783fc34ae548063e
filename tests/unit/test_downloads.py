"""ImageNet weights: fetched once to where a run looks, refused where damaged, asked for before anything is packed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from conftest import Command

from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.models import downloads
from cirn_dist.models.backbones import build_backbone


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Publish a network's weights at an address of this machine; torch's cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    torch.manual_seed(3)
    file = tmp_path / "net.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    named = file.rename(tmp_path / f"net-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setattr(downloads, "_url", lambda name: named.as_uri())
    return named


def test_what_was_fetched_needs_no_network(published: Path, tmp_path: Path) -> None:
    kept = downloads.fetch("resnet18")
    assert kept == downloads.kept_at("resnet18") == tmp_path / "home/hub/checkpoints" / published.name
    expected = torch.load(published, weights_only=True)
    published.unlink()
    backbone = build_backbone("resnet18", "imagenet")
    assert torch.equal(backbone.state_dict()["layer4.1.conv2.weight"], expected["layer4.1.conv2.weight"])
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="is damaged; remove it"):
        build_backbone("resnet18", "imagenet")
    kept.unlink()
    with pytest.raises(CheckpointError, match=r"not here and cannot be downloaded.*cirn-dist fetch") as error:
        downloads.fetch("resnet18")
    assert str(kept) in str(error.value)


def test_a_download_that_is_damaged_is_refused(published: Path) -> None:
    with published.open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="is damaged"):
        downloads.fetch("resnet18")


def test_it_is_asked_for_before_anything_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real addresses: what is here is damaged, so that no network is needed to see it refused."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = downloads.kept_at("resnet18")
    kept.parent.mkdir(parents=True)
    kept.touch()
    start = ("smoke", "model.backbone=resnet18", "model.weights=imagenet")
    run = ("run", *start, "--out", tmp_path / "run")
    for arguments in (run, (*run, "--dry-run"), ("fetch", *start)):
        words = [sys.executable, "-m", "cirn_dist", *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        assert done.stderr == f"cirn-dist: {kept}: is damaged; remove it, and fetch it again\n"
    kept.unlink()
    words = [sys.executable, "-m", "cirn_dist", *map(str, run), "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert done.stderr == f"cirn-dist: {kept}: a run downloads these weights first; cirn-dist fetch does it now\n"
    assert not kept.exists()
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="no ImageNet weights for tiny"):
        downloads.fetch("tiny")


def test_where_nothing_is_downloaded(cirn_dist: Command) -> None:
    assert cirn_dist("fetch", "smoke").stdout == "nothing to download: it starts from random weights\n"
