from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cirn_dist.models.acm import ACM
from cirn_dist.models.backbones import CAFFE, IMAGENET, NONE, Backbone, build_backbone
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.deeplab import Segmenter


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def tiny(k: int | None = 2, **options: bool) -> Segmenter:
    torch.manual_seed(0)
    backbone = build_backbone("tiny")
    return Segmenter(backbone, 5, None if k is None else ACM(backbone.out_channels, 5, k, width=8), **options)


def test_the_classifier_sums_four_dilated_branches() -> None:
    torch.manual_seed(0)
    classifier, f = Classifier(4, 3), torch.randn(1, 4, 30, 31)
    expected = sum(
        F.conv2d(f, branch.weight, branch.bias, padding=d, dilation=d)
        for branch, d in zip(classifier.branches, (6, 12, 18, 24), strict=True)
    )
    torch.testing.assert_close(classifier(f), expected)
    torch.testing.assert_close(classifier(torch.zeros(1, 4, 2, 2))[0, :, 0, 0], classifier.bias())
    assert sum(p.numel() for p in Classifier(2048, 19).parameters()) == 1_400_908  # the lineage's count
    assert Classifier(512, 19).branches[0].weight.std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (17, 33), (40, 29), (64, 64)])
def test_any_input_size_trains_and_gives_logits_of_that_size(size: tuple[int, int]) -> None:
    output = tiny().train()(images(1, 3, *size))
    assert output.p1.shape == output.p2.shape == (1, 5, *size)
    assert torch.isfinite(output.logits).all()
    output.logits.sum().backward()


def test_logits_are_the_upsampled_classifier_outputs_and_their_sum() -> None:
    net, x = tiny().eval(), images(2, 3, 24, 32)
    with torch.no_grad():
        f = net.backbone(x)
        p1, p2 = (
            F.interpolate(head(f), (24, 32), mode="bilinear", align_corners=True) for head in (net.classifier, net.acm)
        )
        output = net(x)
    torch.testing.assert_close(output.p1, p1)
    torch.testing.assert_close(output.p2, p2)
    torch.testing.assert_close(output.logits, p1 + p2)


def test_without_acm_it_is_plain_deeplab() -> None:
    net = tiny(None)
    output = net(images(2, 3, 24, 32))
    assert output.p2 is None
    assert output.logits is output.p1
    assert {name.split(".")[0] for name in net.state_dict()} == {"backbone", "classifier"}
    assert {name.split(".")[0] for name in tiny().state_dict()} == {"backbone", "classifier", "acm"}


def test_logits_are_float32_under_autocast() -> None:
    net, x = tiny().eval(), images(1, 3, 24, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(x)
    assert output.p1.dtype == output.p2.dtype == torch.float32


def test_each_normalisation_is_what_its_weights_saw_in_training() -> None:
    pixels = torch.randint(0, 256, (1, 3, 4, 5), generator=torch.Generator().manual_seed(0)).double()
    scaled = (pixels / 127.5 - 1).float()

    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    bgr_mean = torch.tensor([104.00698793, 116.66876762, 122.67891434]).view(3, 1, 1)
    for normalisation, expected in (
        (NONE, pixels / 127.5 - 1),
        (IMAGENET, (pixels / 255 - mean) / std),
        (CAFFE, pixels[:, [2, 1, 0]] - bgr_mean),
    ):
        net = Segmenter(Backbone(OrderedDict(), 4, 8, normalisation), 2)
        torch.testing.assert_close(net.normalise(scaled).double(), expected.double(), rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("freeze", [False, True])
def test_parameter_groups_hold_every_trainable_parameter_once(freeze: bool) -> None:
    net = tiny(freeze_affine=freeze)
    backbone, heads = net.parameter_groups(0.1, backbone_lr_mult=3)
    assert (backbone["name"], heads["name"]) == ("backbone", "heads")
    assert (backbone["lr"], heads["lr"]) == (pytest.approx(0.3), pytest.approx(1.0))
    listed = [id(p) for group in (backbone, heads) for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in net.parameters() if p.requires_grad}
    assert {id(p) for p in backbone["params"]} <= {id(p) for p in net.backbone.parameters()}
    torch.optim.SGD([backbone, heads], lr=0.1)


def test_frozen_affine_leaves_out_exactly_the_batch_norms() -> None:
    net = tiny(freeze_affine=True)
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    norms = {name for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert frozen == {f"{n}.{kind}" for n in norms for kind in ("weight", "bias")}
    assert norms
