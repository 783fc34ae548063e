"""Named choices of the configuration are ones that the code acts on."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import nn

from cirn_dist import choices, losses
from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.cyclegan import Generator
from cirn_dist.models.norm import convert
from cirn_dist.precision import Hardware, choose_precision
from cirn_dist.schedule import lr_factor


@pytest.mark.parametrize("name", get_args(choices.BackboneName))
def test_each_backbone_can_be_built(name: choices.BackboneName) -> None:
    with torch.device("meta"):
        assert build_backbone(name)(torch.empty(1, 3, 64, 64)).shape[1] == build_backbone(name).out_channels


@pytest.mark.parametrize("mode", get_args(choices.NormMode))
def test_each_norm_replaces_batch_norm(mode: choices.NormMode) -> None:
    net = convert(nn.Sequential(nn.BatchNorm2d(4)), mode).train()
    images = torch.linspace(1, 2, 32).reshape(2, 4, 2, 2)
    centred = net(images).mean((0, 2, 3)).abs().max() < 1e-5
    assert bool(centred) == (mode != "frozen"), "frozen statistics are the running ones, 0 and 1"


def test_each_scaling_of_learning_rates_is_its_own() -> None:
    factors = {scaling: lr_factor(scaling, "sgd", 4) for scaling in get_args(choices.LrScaling)}
    assert factors == {"auto": 4.0, "none": 1.0, "sqrt": 2.0, "linear": 4.0}


def test_each_gan_loss_has_a_value_of_its_own() -> None:
    logits = torch.full((2, 1, 4, 4), 0.3)
    found = [losses.gan(logits, True, kind).item() for kind in get_args(choices.Gan)]
    assert len({*found}) == len(found)


def test_each_reference_of_semantic_consistency_has_a_value_of_its_own() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(1, 3, 4, 4, generator=draw), torch.randint(3, (1, 4, 4), generator=draw)
    references: dict[str, Any] = {"ground_truth": labels, "argmax": 2 * logits.flip(1), "logits": 2 * logits.flip(1)}
    kinds = get_args(choices.SemanticTarget)
    found = [losses.semantic_consistency(logits, references[kind], kind).item() for kind in kinds]
    assert len({*found}) == len(found)


@pytest.mark.parametrize("upsampling", get_args(choices.Upsampling))
def test_each_upsampling_gives_an_image_of_the_same_size(upsampling: choices.Upsampling) -> None:
    images = torch.zeros(1, 3, 32, 32)
    assert Generator(ngf=4, blocks=1, upsampling=upsampling)(images).shape == images.shape


def test_each_precision_is_itself_and_auto_one_of_them() -> None:
    machine = Hardware("cuda", (9, 0), ("sm_90",))
    found = {asked: choose_precision(asked, machine) for asked in get_args(choices.AskedPrecision)}
    assert found == {one: one for one in get_args(choices.Precision)} | {"auto": "bf16"}
