"""`bench step`: what it counts is what a step does, its phases are the whole of it, and the engine costs little."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from torch import nn

from cirn_dist.config.load import load
from cirn_dist.errors import ConfigError
from cirn_dist.measure.others import Other, other
from cirn_dist.measure.phases import phases
from cirn_dist.measure.rehearsal import LOSSES, Work
from cirn_dist.measure.steps import StepBench, bench_step, counted

SMALL = ["model.backbone=tiny", "model.weights=null", "engine.images_per_step=2", "engine.micro_batch=2"]
SIZE = ["data.source.size=[96,64]", "data.target.size=[96,64]"]
CROPS = [f"{stage}.augment.crop=[96,64]" for stage in ("source", "adapt")]


def of_clan(root: Path) -> Path:
    """A checkout in CLAN's shape: networks, losses and names that its step calls, a few layers of its own."""
    for folder in ("model", "utils"):
        (root / folder).mkdir(parents=True)
    (root / "model/CLAN_G.py").write_text(
        "import torch.nn as nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, n):\n"
        "        super().__init__()\n"
        "        self.body, self.layer5, self.layer6 = (nn.Conv2d(*a, 3, 4, 1) for a in ((3, 8), (8, n), (8, n)))\n"
        "        self.layer5.stride = self.layer6.stride = (1, 1)\n"
        "    def forward(self, x):\n"
        "        f = self.body(x)\n"
        "        return self.layer5(f), self.layer6(f)\n"
        "    def get_1x_lr_params_NOscale(self):\n"
        "        return [*self.body.parameters(), *self.body.parameters()]\n"
        "    def get_10x_lr_params(self):\n"
        "        return [*self.layer5.parameters(), *self.layer6.parameters()]\n"
        "def Res_Deeplab(num_classes):\n"
        "    return Net(num_classes)\n"
    )
    (root / "model/CLAN_D.py").write_text(
        "import torch.nn as nn\ndef FCDiscriminator(num_classes):\n    return nn.Conv2d(num_classes, 1, 4, 4)\n"
    )
    (root / "utils/loss.py").write_text(
        "import torch.nn.functional as F\n"
        "def CrossEntropy2d(n):\n    return lambda p, t: F.cross_entropy(p, t)\n"
        "def WeightedBCEWithLogitsLoss():\n"
        "    return lambda x, t, w, a, b: (F.binary_cross_entropy_with_logits(x, t, reduction='none')"
        " * (a + b * w)).mean()\n"
    )
    return root


@pytest.fixture(scope="module")
def source() -> StepBench:
    """The tiny network's supervised step beside a plain loop of the same network."""
    return bench_step(load("demo", [*SMALL, *SIZE, *CROPS]), "source", "fp32", "cpu", steps=15, against="plain")


def test_the_engine_costs_little_beside_a_plain_loop_of_the_same_network(source: StepBench) -> None:
    """A guard on speed: a fifth more than the bare loop's time, side by side, fails."""
    assert source.against is not None
    assert source.ratio == pytest.approx(source.ours.cpu / source.against.cpu)
    assert source.ratio < 1.2


def test_phases_add_up_to_the_step_and_name_its_networks(source: StepBench) -> None:
    inside = {name: seconds for name, seconds in source.phases.items() if name != "reading, in one process"}
    assert {"segmenter: forward", "segmenter: backward", "optimizers", LOSSES} <= set(inside)
    assert source.ours.wall / 3 < sum(inside.values()) < 10 * source.ours.wall  # one step, whatever else is running
    assert inside["segmenter: backward"] > inside["gradient norms"]


def test_counted_work_is_the_convolutions_by_hand() -> None:
    """A 3x3 convolution from 3 to 4 channels over 10x8: twice its multiplications, forward, and for each gradient."""
    net = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    x = torch.randn(2, 3, 8, 10, requires_grad=True)
    assert counted(lambda: net(x).sum().backward()) == 3 * 2 * 2 * 80 * 4 * 27
    depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
    y = torch.randn(2, 6, 8, 10)  # which needs no gradient: forward, and the weight's
    assert counted(lambda: depthwise(y).sum().backward()) == 2 * 2 * 2 * 80 * 6 * 9
    doubling = nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1, bias=False)
    assert counted(lambda: doubling(x).sum().backward()) == 3 * 2 * 2 * 80 * 3 * 5 * 16
    found = bench_step(load("demo", [*SMALL, *SIZE, *CROPS]), "source", "fp32", "cpu", steps=1)
    double = bench_step(
        load("demo", [*SMALL, *SIZE, *CROPS, "engine.images_per_step=4", "engine.micro_batch=4"]),
        "source", "fp32", "cpu", steps=1,
    )  # fmt: skip
    assert double.flop == pytest.approx(2 * found.flop, rel=0.01)
    assert (found.images, found.images_per_step, double.images_per_step) == ("96x64", 2, 4)
    assert found.ratio is None


def test_time_goes_to_what_took_it() -> None:
    """Networks that sleep: one in its forward pass, one in its backward pass, one frozen."""

    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * 1

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            time.sleep(0.2)
            return gradient

    class Slow(nn.Linear):
        def __init__(self, *, forward: float, backward: bool) -> None:
            super().__init__(2, 2)
            self.takes, self.slow_back = forward, backward

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            time.sleep(self.takes)
            y = super().forward(x)
            return Backward.apply(y) if self.slow_back else y  # type: ignore[no-any-return, no-untyped-call]

    class Alone:
        def __init__(self, **networks: nn.Module) -> None:
            self.networks = networks

    a, b, c = Slow(forward=0.1, backward=False), Slow(forward=0, backward=True), Slow(forward=0.05, backward=False)
    c.requires_grad_(requires_grad=False)

    def step(mark: Any) -> None:
        loss = c(b(a(torch.ones(1, 2)))).sum()
        time.sleep(0.15)
        loss.backward()
        mark("optimizers")
        time.sleep(0.03)

    found = phases(Work(step, [a, b, c], (1, 1), [Alone(a=a, b=b)]))  # type: ignore[list-item]
    assert found["a: forward"] == pytest.approx(0.1, abs=0.04)
    assert found["b: backward"] == pytest.approx(0.2, abs=0.04)
    assert found["frozen network: forward"] == pytest.approx(0.05, abs=0.04)
    assert found[LOSSES] == pytest.approx(0.15, abs=0.04)
    assert found["optimizers"] == pytest.approx(0.03, abs=0.02)
    assert found["a: backward"] < 0.04


def test_beside_code_in_clans_shape(cirn_dist: Command, tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    done = cirn_dist(
        "bench", "step", "adapt", *SMALL, "model.acm.width=8", "--config", "demo", "--size", "96x64",
        "--precision", "fp32", "--steps", "2", "--against", of_clan(tmp_path / "clan"), "--json", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert found["against"]["name"] == "CLAN"
    assert found["ratio"] == pytest.approx(found["ours"]["cpu"] / found["against"]["cpu"])
    assert "discriminator: backward" in found["phases"]
    assert "ours by theirs" in done.stdout


def test_the_others_step_trains(tmp_path: Path) -> None:
    """Its segmenter and its discriminator change in a step, so what is timed is a step."""
    batch = {
        "source": {"image": torch.randint(0, 256, (1, 3, 32, 48)), "label": torch.randint(0, 5, (1, 32, 48))},
        "target": {"image": torch.randint(0, 256, (1, 3, 32, 48))},
    }
    built: list[nn.Module] = []
    original = nn.Module.train

    def remembered(module: nn.Module, mode: bool = True) -> nn.Module:
        if module not in built:
            built.append(module)
        return original(module, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "train", remembered)
        found = other(str(of_clan(tmp_path)), "adapt", Work(print, [], (48, 32), batch=batch), 5, "fp32")
    assert isinstance(found, Other)
    before = [p.clone() for net in built for p in net.parameters()]
    found.step()
    after = [p for net in built for p in net.parameters()]
    assert len(before) >= 8
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_cannot_be_compared_is_refused(cirn_dist: Command, tmp_path: Path) -> None:
    work = Work(print, [], (8, 8))
    with pytest.raises(ConfigError, match="no code to compare with is there"):
        other(str(tmp_path), "adapt", work, 5, "fp32")
    with pytest.raises(ConfigError, match=r"CLAN has no step like source's.*compare it with adapt"):
        other(str(of_clan(tmp_path / "clan")), "source", work, 5, "fp32")
    with pytest.raises(ConfigError, match="no plain loop of adapt"):
        other("plain", "adapt", work, 5, "fp32")
    (tmp_path / "clan/utils/loss.py").unlink()
    with pytest.raises(ConfigError, match=r"loss\.py.*whole checkout"):
        other(str(tmp_path / "clan"), "adapt", work, 5, "fp32")
    done = cirn_dist("bench", "step", "adopt", "--size", "96x64", "--config", "demo")
    assert done.returncode == 2
    assert "adapt" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
