"""timm's networks as backbones, and heads that join their levels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import needs_timm
from safetensors.torch import save_file
from stagerun import settings, stage_run
from torch import Tensor, nn

from cirn_dist.choices import NormMode
from cirn_dist.engine.loop import fit
from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.inference.network import segmenter_of
from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.downloads import fetch
from cirn_dist.models.fusion import Fusion
from cirn_dist.models.norm import convert
from cirn_dist.models.resizing import resize
from cirn_dist.models.timm_backbones import published
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.source import supervised

pytestmark = needs_timm
# One of each family, the smallest: convolutions plain, inverted, grouped, dense; attention in windows and pyramids.
FAMILIES = {
    "resnet18": 8, "mobilenetv3_small_100": 32, "efficientnet_b0": 8, "regnety_002": 8, "convnext_atto": 8,
    "pvt_v2_b0": 32, "swin_tiny_patch4_window7_224": 32, "vit_tiny_patch16_224": 16, "hrnet_w18_small": 32,
    "densenet121": 32, "repvit_m0_9": 32, "edgenext_xx_small": 32,
}  # fmt: skip


def images(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_segments_images_of_any_size(name: str, tmp_path: Path) -> None:
    run = stage_run(tmp_path, f"model.backbone=timm:{name}", "model.weights=null")
    segmenter = segmenter_of(run.config, world=1, with_acm=True).eval()
    assert segmenter.backbone.output_stride == FAMILIES[name]
    with torch.no_grad():
        for size in ((64, 96), (61, 93), (7, 40)):
            assert segmenter(images(*size)).logits.shape == (2, 11, *size)


@pytest.mark.parametrize("mode", ["batch", "sync", "frozen"])
@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "resnetv2_50", "regnety_002", "densenet121", "mobilenetv3_small_100"]
)
def test_its_norms_keep_their_activations(name: str, mode: NormMode) -> None:
    torch.manual_seed(0)
    net = build_backbone(f"timm:{name}").eval()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
    with torch.no_grad():
        expected = net(images(64, 64))
        assert torch.equal(convert(net, mode).eval()(images(64, 64)), expected)


def test_a_file_of_its_own_names_is_loaded_and_another_networks_refused(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(1)
    whole = timm.create_model("pvt_v2_b0").eval()
    save_file(whole.state_dict(), tmp_path / "pvt.safetensors")
    loaded = build_backbone("timm:pvt_v2_b0", tmp_path / "pvt.safetensors").eval()
    x = images(64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), whole.forward_features(x))
    with pytest.raises(CheckpointError, match="another network"):
        build_backbone("timm:resnet18", tmp_path / "pvt.safetensors")


def test_what_timm_has_not_is_said() -> None:
    with pytest.raises(ConfigError, match=r"timm has no pvt_v2_b9.*timm:pvt_v2_b"):
        build_backbone("timm:pvt_v2_b9")
    with pytest.raises(ConfigError, match=r"nothing is fetched.*timm/resnet18.*apache-2.0"):
        fetch("timm:resnet18")
    assert "cvnets-license" in published("timm:mobilevit_xxs"), "not every licence allows everything"
    with pytest.raises(ConfigError, match="strides"):
        build_backbone("timm:vit_tiny_patch16_224", every_level=True)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (["model.backbone=resnet1O1"], "resnet101"),
        (["model.backbone='timm:'"], "timm:NAME"),
        (["model.head=daformer"], "timm"),
        (["model.head=hrda"], "head"),
    ],
)
def test_settings_of_no_network_are_refused(wrong: list[str], word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=word):
        segmenter_of(settings(tmp_path, "model.weights=null", *wrong), world=1, with_acm=False)


def test_the_head_is_daformers_to_the_parameter() -> None:
    channels = (64, 128, 320, 512)  # of MiT-B5 and PVTv2-B5
    head, classifier = Fusion(channels, "daformer"), Classifier(256, 19, (0,))
    assert sum(p.numel() for net in (head, classifier) for p in net.parameters()) == 3_712_275
    maps = [torch.rand(2, c, 16 // 2**i, 24 // 2**i) for i, c in enumerate(channels)]
    assert classifier(head(maps)).shape == (2, 19, 16, 24)


def test_a_head_joins_its_levels_as_written_out() -> None:
    torch.manual_seed(0)
    maps = [torch.rand(2, c, 8 // 2**i, 12 // 2**i) for i, c in enumerate((3, 4, 5, 6))]
    for kind in ("daformer", "segformer"):
        head = Fusion((3, 4, 5, 6), kind, width=7).eval()  # type: ignore[arg-type]
        embedded = []
        for x, embed in zip(maps, head.embed, strict=True):
            assert isinstance(embed, nn.Conv2d)
            linear = nn.functional.linear(x.permute(0, 2, 3, 1), embed.weight[:, :, 0, 0], embed.bias).permute(
                0, 3, 1, 2
            )
            embedded.append(nn.functional.interpolate(linear, (8, 12), mode="bilinear", align_corners=False))
        joined = torch.cat(embedded, 1)
        with torch.no_grad():
            torch.testing.assert_close(head(maps), head.mix(joined))
        assert joined.shape[1] == 28


@pytest.mark.parametrize("head", ["daformer", "segformer"])
def test_a_stage_trains_a_transformer_with_a_joining_head(head: str, tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", "model.backbone=timm:pvt_v2_b0", "model.weights=null", f"model.head={head}",
                    "model.head_width=16", "model.dropout=0.1", "model.drop_path=0.1", "source.optimizer=adamw",
                    "source.iterations=8", "model.norm=auto")  # fmt: skip
    domains = open_domains(run)
    training = supervised(run, "source", domains.source, run.config.source)
    groups = training.players["segmenter"].optimizer.param_groups
    segmenter = training.players["segmenter"].networks["segmenter"]
    heads = {id(p) for name, p in segmenter.named_parameters() if not name.startswith("backbone.")}
    assert {id(p) for group in groups if group["name"] == "heads" for p in group["params"]} == heads
    fit(training, run)
    assert run.finished("source").read("segmenter").keys() == segmenter.state_dict().keys()


def test_levels_are_resized_alike_where_the_result_must_be_the_same_each_time() -> None:
    for of, to in (((5, 7), (13, 20)), ((13, 20), (5, 7)), ((1, 1), (4, 4))):
        x = torch.rand(2, 3, *of, dtype=torch.float64)
        expected = nn.functional.interpolate(x, to, mode="bilinear", align_corners=False)
        torch.use_deterministic_algorithms(True)
        try:
            torch.testing.assert_close(resize(x, to, corners=False), expected)
        finally:
            torch.use_deterministic_algorithms(False)
