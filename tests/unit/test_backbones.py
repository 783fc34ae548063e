from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.models.acm import ACM
from cirn_dist.models.backbones import BEYOND_FEATURES, CAFFE, IMAGENET, Backbone, build_backbone
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.weights import MatchReport, backbone_names, load_strictly, read_weights, segmenter_names

MOBILENET = Path(__file__).parents[3] / "shared/data/weights/mobilenet_v2-imagenet-features.safetensors"


def images(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "channels", "stride"),
    [("tiny", 96, 4), ("resnet18", 512, 8), ("resnet34", 512, 8), ("resnet50", 2048, 8), ("mobilenet_v2", 320, 8)],
)
def test_features_have_the_promised_channels_and_stride(name: str, channels: int, stride: int) -> None:
    backbone = build_backbone(name).eval()
    assert (backbone.out_channels, backbone.output_stride) == (channels, stride)
    with torch.no_grad():
        assert backbone(images(64, 96)).shape == (1, channels, 64 // stride, 96 // stride)
        assert backbone(images(61, 93)).shape == (1, channels, -(-61 // stride), -(-93 // stride))


def test_tiny_is_tiny() -> None:
    assert 0.6e6 < sum(p.numel() for p in build_backbone("tiny").parameters()) < 1.0e6


def test_dilated_resnet_equals_torchvisions_own_dilation() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    ours = build_backbone("resnet50").eval()
    load_strictly(ours, theirs.state_dict(), where="torchvision", ignore=["fc."])
    x = images(40, 56)
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(y))))
        assert torch.equal(ours(x), expected)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_dilation_computes_the_strided_networks_features_densely(name: str) -> None:
    """Without padding effects: the dense features, sampled every fourth, are the original network's."""
    torch.manual_seed(0)
    strided = getattr(torchvision.models, name)().eval()
    dense = build_backbone(name).eval()
    load_strictly(dense, strided.state_dict(), where="torchvision", ignore=["fc.", "classifier.", "features.18."])
    chain = strided.features[:-1] if name == "mobilenet_v2" else nn.Sequential(*list(strided.children())[:-2])
    x = images(512, 512)
    with torch.no_grad():
        expected, got = chain(x), dense(x)[:, :, ::4, ::4]
    # A corner's receptive field leaves the image and meets padding at another dilation; the centre's does not.
    torch.testing.assert_close(got[:, :, 7:9, 7:9], expected[:, :, 7:9, 7:9], rtol=1e-3, atol=1e-4)


def test_caffe_layout_strides_in_the_first_convolution_and_rounds_up() -> None:
    with torch.device("meta"):
        caffe = build_backbone("resnet101_caffe").eval()
        block = caffe.get_submodule("layer2.0")
        assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))
        assert caffe.get_submodule("layer3.0").conv2.dilation == (2, 2)
        assert caffe.get_submodule("layer4.2").conv2.dilation == (4, 4)
        # The lineage's feature sizes: 161x91 of 1280x720, 161x96 of 1280x760, 129x65 of 1024x512.
        assert caffe(torch.empty(1, 3, 720, 1280)).shape == (1, 2048, 91, 161)
        assert caffe(torch.empty(1, 3, 760, 1280)).shape == (1, 2048, 96, 161)
        assert caffe(torch.empty(1, 3, 512, 1024)).shape == (1, 2048, 65, 129)
        assert caffe.normalisation == CAFFE
        assert build_backbone("resnet101").normalisation == IMAGENET


def test_the_papers_network_has_the_lineages_size() -> None:
    with torch.device("meta"):
        net = Segmenter(build_backbone("resnet101_caffe"), 19, ACM(2048, 19, k=0), freeze_affine=True)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(45.30e6, abs=0.005e6)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == pytest.approx(45.20e6, abs=0.005e6)


def lineage_checkpoint(backbone: Backbone, prefix: str, shallow: int = 512) -> dict[str, Tensor]:
    """A checkpoint named as CLAN's; other `shallow` channels into its first classifier make it AdaptSegNet's."""
    state = {f"{prefix}{n}": t for n, t in backbone.state_dict().items() if "num_batches" not in n}
    for layer, channels in (("layer5", shallow), ("layer6", 512)):
        for i in range(4):
            state[f"{prefix}{layer}.conv2d_list.{i}.weight"] = torch.full((2, channels, 3, 3), float(layer[-1]))
            state[f"{prefix}{layer}.conv2d_list.{i}.bias"] = torch.full((2,), float(i))
    return state


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    """The lineage's names at a small size."""
    return build_backbone("resnet18")


def test_a_lineage_checkpoint_becomes_a_segmenter(resnet: Backbone, tmp_path: Path) -> None:
    torch.save(lineage_checkpoint(resnet, "module."), tmp_path / "clan.pth", _use_new_zipfile_serialization=False)
    net = Segmenter(build_backbone("resnet18"), 2, ACM(512, 2, k=0))
    report = load_strictly(net, segmenter_names(read_weights(tmp_path / "clan.pth")), where="clan.pth")
    assert len(report.matched) == len(net.state_dict()) - len(report.absent)
    assert all(name.endswith("num_batches_tracked") for name in report.absent)
    name = "layer3.1.conv2.weight"
    assert torch.equal(net.backbone.state_dict()[name], resnet.state_dict()[name])
    assert net.classifier.branches[0].weight.unique().item() == 5
    assert net.acm.classifiers[0].branches[3].weight.unique().item() == 6
    assert net.acm.classifiers[0].branches[3].bias.unique().item() == 3


def test_adaptsegnets_deep_classifier_is_the_one_taken(resnet: Backbone) -> None:
    state = segmenter_names(lineage_checkpoint(resnet, "", shallow=256))
    assert state["classifier.branches.0.weight"].unique().item() == 6
    assert not any(name.startswith("acm.") or "layer5" in name for name in state)


def report(backbone: Backbone, file: Path) -> MatchReport:
    """What of a file goes into a backbone."""
    return load_strictly(backbone, backbone_names(read_weights(file)), where=file, ignore=BEYOND_FEATURES)


def test_a_backbone_takes_the_features_of_a_lineage_file(resnet: Backbone, tmp_path: Path) -> None:
    torch.save(lineage_checkpoint(resnet, "Scale."), tmp_path / "init.pth")
    backbone = build_backbone("resnet18", tmp_path / "init.pth")
    assert len(report(backbone, tmp_path / "init.pth").unused) == 16
    assert torch.equal(backbone.state_dict()["conv1.weight"], resnet.state_dict()["conv1.weight"])


def test_imagenet_features_of_mobilenet_load_and_are_all_used() -> None:
    if not MOBILENET.is_file():
        pytest.skip("needs the optional ../shared data folder")
    backbone = build_backbone("mobilenet_v2", MOBILENET)
    found = report(backbone, MOBILENET)
    assert not found.absent
    assert len(found.matched) == len(backbone.state_dict())
    assert all(name.startswith("features.18.") for name in found.unused)


def tiny_state() -> dict[str, Tensor]:
    return build_backbone("tiny").state_dict()


def test_a_file_of_its_own_state_gives_back_the_same_network(tmp_path: Path) -> None:
    state = tiny_state()
    save_file(state, tmp_path / "tiny.safetensors")
    torch.save({"state_dict": state}, tmp_path / "tiny.pth")
    for name in ("tiny.safetensors", "tiny.pth"):
        loaded = build_backbone("tiny", tmp_path / name)
        assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.state_dict().items())


def test_wrong_weights_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    net = build_backbone("tiny")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = tiny_state()
    missing = {n: t for n, t in state.items() if n != "net.deep.weight"}
    for broken, what in (
        (missing, "lacks net.deep.weight"),
        ({**state, "extra": torch.zeros(1)}, "has unknown extra"),
        ({**state, "net.deep.weight": torch.zeros(1, 2)}, "has another shape of net.deep.weight"),
    ):
        with pytest.raises(CheckpointError, match=what):
            load_strictly(net, broken, where="x.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_unusable_files_are_one_line_errors(tmp_path: Path) -> None:
    class Danger:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"a": Danger()}, tmp_path / "danger.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "noise.pth").write_bytes(b"not weights")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "noise.safetensors").write_bytes(b"not weights")
    names = ("danger.pth", "list.pth", "noise.pth", "empty.pth", "noise.safetensors", "absent.pth")
    for name in names:
        with pytest.raises(CheckpointError, match=name) as caught:
            build_backbone("tiny", tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_an_unknown_backbone_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"resnet19.*resnet18"):
        build_backbone("resnet19")
    with pytest.raises(ConfigError, match="no ImageNet weights for tiny"):
        build_backbone("tiny", "imagenet")
