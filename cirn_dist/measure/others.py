"""Steps to time a stage's own beside: a plain loop over the same network, and other projects' from their checkouts.

Of those projects nothing is kept here: their modules are imported from where their user has them, and their loss
recipes are written out in PyTorch's own functions.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import backward

from cirn_dist.choices import Precision
from cirn_dist.errors import ConfigError
from cirn_dist.measure.rehearsal import Work
from cirn_dist.precision import HALF

PLAIN = "plain"


@dataclass(frozen=True)
class Other:
    """Another step on the same images.

    Attributes:
        name: what it is called in a table.
        step: does it once.
    """

    name: str
    step: Callable[[], None]


def other(against: str, stage: str, work: Work, classes: int, precision: Precision) -> Other:
    """Return the step to time a stage's beside.

    Args:
        against: `plain`, or a folder with CLAN's code (stage adapt) or contrastive-unpaired-translation's (translate).
        classes: of the labels.
        precision: of the plain loop; other projects' code computes in what they do, float32.

    Raises:
        ConfigError: the folder has neither, or that of another stage.
    """
    if against == PLAIN:
        if stage != "source":
            raise ConfigError(f"there is no plain loop of {stage}", where="--against", fix="use --stage source")
        return Other("a plain loop, the same network", _plain(work, precision))
    root = Path(against)
    for marker, of, name, build in _KNOWN:
        if (root / marker).is_file():
            if of != stage:
                raise ConfigError(f"{name} has no step like {stage}'s", where=root, fix=f"compare it with {of}")
            return Other(name, build(root, work, classes))
    known = ", ".join(f"{name}'s ({marker})" for marker, _, name, _ in _KNOWN)
    raise ConfigError("no code to compare with is there", where=root, fix=f"give a checkout of {known}, or {PLAIN}")


def _plain(work: Work, precision: Precision) -> Callable[[], None]:
    """Return supervised training as one would write it down: forward, cross-entropy, backward, update."""
    (player,) = work.players
    (net,) = player.networks.values()
    batch, half = work.batch["source"], HALF.get(precision)
    device = batch["image"].device

    def step() -> None:
        images = batch["image"].to(torch.float32).div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, half, enabled=half is not None):
            logits = net(images).p1
        backward(F.cross_entropy(logits.float(), batch["label"].long(), ignore_index=255))
        player.optimizer.step()
        player.optimizer.zero_grad()

    return step


def _clan(root: Path, work: Work, classes: int) -> Callable[[], None]:
    """Return CLAN's step past its warm-up: CLAN_train.py's constants, its networks and its two loss classes."""
    generator_code, discriminator_code = (_module(root / "model" / f"CLAN_{which}.py") for which in "GD")
    loss_code = _module(root / "utils/loss.py")
    (x_s, label), (x_t, _) = (_caffe(work.batch[domain]) for domain in ("source", "target"))
    net = generator_code.Res_Deeplab(num_classes=classes).to(x_s.device).train()
    judge = discriminator_code.FCDiscriminator(num_classes=classes).to(x_s.device).train()
    groups: list[dict[str, Any]] = [
        {"params": [*dict.fromkeys(net.get_1x_lr_params_NOscale())]},
        {"params": [*net.get_10x_lr_params()], "lr": 2.5e-3},
    ]
    optimizer = torch.optim.SGD(groups, lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
    optimizer_d = torch.optim.Adam(judge.parameters(), lr=1e-4, betas=(0.9, 0.99))
    focal, weighted = loss_code.CrossEntropy2d(classes), loss_code.WeightedBCEWithLogitsLoss()
    damping = 0.5

    def large(logits: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(logits, size=like.shape[-2:], mode="bilinear", align_corners=True)

    def judged(first: Tensor, second: Tensor, like: Tensor) -> Tensor:
        return large(judge((first + second).softmax(1)), like)

    def step() -> None:
        optimizer.zero_grad()
        optimizer_d.zero_grad()
        judge.requires_grad_(requires_grad=False)
        s1, s2 = (large(logits, x_s) for logits in net(x_s))
        backward(focal(s1, label) + focal(s2, label))
        t1, t2 = (large(logits, x_t) for logits in net(x_t))
        p1, p2 = t1.softmax(1), t2.softmax(1)
        cosine = (p1 * p2).sum(1, keepdim=True) / (p1.norm(2, 1, keepdim=True) * p2.norm(2, 1, keepdim=True))
        weights = 1 - cosine
        d_t = judged(t1, t2, x_t)
        backward(weighted(d_t, torch.zeros_like(d_t), weights, 0.4, 40) * 0.001 * damping)
        w5, w6 = (torch.cat([p.view(-1) for p in layer.parameters()]) for layer in (net.layer5, net.layer6))
        backward((w5 @ w6 / (w5.norm() * w6.norm()) + 1) * 0.01 * damping * 2)
        judge.requires_grad_(requires_grad=True)
        d_s = judged(s1.detach(), s2.detach(), x_s)
        backward(F.binary_cross_entropy_with_logits(d_s, torch.zeros_like(d_s)))
        d_t = judged(t1.detach(), t2.detach(), x_t)
        backward(weighted(d_t, torch.ones_like(d_t), weights.detach(), 0.4, 40))
        optimizer.step()
        optimizer_d.step()

    return step


def _cyclegan(root: Path, work: Work, _: int) -> Callable[[], None]:
    """Return CycleGAN's step by contrastive-unpaired-translation's networks: nine blocks, lsgan, no identity loss."""
    code = _module(root / "models/networks.py", package=root / "models")
    x_s, x_t = (_scaled(work.batch[domain]["image"]) for domain in ("source", "target"))
    given: dict[str, Any] = {"no_antialias": True, "no_antialias_up": True, "gpu_ids": []}
    there, back = (code.define_G(3, 3, 64, "resnet_9blocks", "instance", False, **given).to(x_s.device) for _ in "GF")
    del given["no_antialias_up"]
    d_t, d_s = (code.define_D(3, 64, "basic", 3, "instance", **given).to(x_s.device) for _ in "TS")
    criterion = code.GANLoss("lsgan").to(x_s.device)
    optimizer_g, optimizer_d = (
        torch.optim.Adam(chain(*(net.parameters() for net in nets)), lr=2e-4, betas=(0.5, 0.999))
        for nets in ((there, back), (d_t, d_s))
    )

    def told_apart(judge: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        both: Tensor = criterion(judge(real), True) + criterion(judge(fake.detach()), False)
        return both * 0.5

    def step() -> None:
        fake_t, fake_s = there(x_s), back(x_t)
        back_s, back_t = back(fake_t), there(fake_s)
        for judge in (d_t, d_s):
            judge.requires_grad_(requires_grad=False)
        optimizer_g.zero_grad()
        fooled = criterion(d_t(fake_t), True) + criterion(d_s(fake_s), True)
        backward(fooled + 10 * F.l1_loss(back_s, x_s) + 10 * F.l1_loss(back_t, x_t))
        optimizer_g.step()
        for judge in (d_t, d_s):
            judge.requires_grad_(requires_grad=True)
        optimizer_d.zero_grad()
        backward(told_apart(d_t, x_t, fake_t))
        backward(told_apart(d_s, x_s, fake_s))
        optimizer_d.step()

    return step


# A file that tells the project; the stage its step is like; its name; how its step is built.
_KNOWN: tuple[tuple[str, str, str, Callable[[Path, Work, int], Callable[[], None]]], ...] = (
    ("model/CLAN_G.py", "adapt", "CLAN", _clan),
    ("models/cycle_gan_model.py", "translate", "CycleGAN, in contrastive-unpaired-translation", _cyclegan),
)


def _module(file: Path, package: Path | None = None) -> ModuleType:
    """Import a file of another project, under a name of its own; its package is there for its relative imports."""
    name = f"cirn_dist_other.{file.stem}"
    parent = ModuleType("cirn_dist_other")
    parent.__path__ = [str(package)] if package is not None else []
    sys.modules["cirn_dist_other"] = parent
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ConfigError("is not there", where=file, fix="give --against a whole checkout")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise ConfigError(f"cannot be imported: {error}", where=file, fix="install what it needs") from None
    return module


def _scaled(images: Tensor) -> Tensor:
    return images.float().div(127.5).sub(1)


def _caffe(entries: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return images as the lineage's loaders give them, BGR less its mean, and labels where there are any."""
    mean = torch.tensor([104.00698793, 116.66876762, 122.67891434], device=entries["image"].device)
    images = entries["image"].float().flip(1) - mean[:, None, None]
    return images, entries.get("label", images[:, 0]).long()
