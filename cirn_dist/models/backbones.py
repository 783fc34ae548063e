"""The feature extractors F: torchvision's ResNets and MobileNetV2 at output stride 8, the lineage's, and a tiny one."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple, get_args

import torchvision
from torch import Tensor, nn

from cirn_dist.choices import BackboneName
from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.models.downloads import fetch
from cirn_dist.models.kernels import use_own_kernels
from cirn_dist.models.resnet_caffe import resnet101_caffe
from cirn_dist.models.timm_backbones import MULTIPLE, OWN, PREFIX, Levels
from cirn_dist.models.tiny import Tiny
from cirn_dist.models.weights import backbone_names, described, load_strictly, read_weights


class Normalisation(NamedTuple):
    """The input that weights expect: (x - mean) / std of an image x in [-1, 1], in BGR order if `bgr`."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False


def _from_bytes(mean: tuple[float, ...], std: tuple[float, ...], *, bgr: bool = False) -> Normalisation:
    """Translate a normalisation of pixels in 0 to 255 to one of pixels in [-1, 1]: x = p / 127.5 - 1."""
    r, g, b = (m / 127.5 - 1 for m in mean)
    sr, sg, sb = (s / 127.5 for s in std)
    return Normalisation((r, g, b), (sr, sg, sb), bgr)


NONE = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
IMAGENET = _from_bytes(tuple(255 * m for m in (0.485, 0.456, 0.406)), tuple(255 * s for s in (0.229, 0.224, 0.225)))
CAFFE = _from_bytes((104.00698793, 116.66876762, 122.67891434), (1.0, 1.0, 1.0), bgr=True)


class Backbone(nn.Sequential):
    """A chain of named layers that returns features, with what a segmenter must know of them.

    Attributes:
        out_channels: channels of the features; of the last map, where it returns several.
        output_stride: input pixels per feature pixel.
        normalisation: what the weights expect of their input.
        channels: of every map, where it returns several for a head that joins them.
        multiple: what an image's sides must be multiples of; it is padded to them.
        middle: the layer before the last features' and its channels, for an auxiliary classifier; None: there is none.
    """

    middle: tuple[str, int] | None = None

    def __init__(
        self,
        layers: OrderedDict[str, nn.Module],
        out_channels: int,
        output_stride: int,
        normalisation: Normalisation,
        levels: tuple[int, ...] = (),
        multiple: int = 1,
    ) -> None:
        super().__init__(layers)
        self.channels, self.multiple = levels, multiple
        self.out_channels = out_channels
        self.output_stride = output_stride
        self.normalisation = normalisation

    def with_middle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the layer `middle`, and the last ones."""
        assert self.middle is not None
        seen: list[Tensor] = []
        hook = self.get_submodule(self.middle[0]).register_forward_hook(lambda _, __, found: seen.append(found))
        try:
            last: Tensor = self(images)
        finally:
            hook.remove()
        return seen[0], last


def build_backbone(
    name: str, weights: str | Path | None = None, *, every_level: bool = False, drop_path: float = 0.0
) -> Backbone:
    """Build a feature extractor by name.

    Args:
        name: tiny (output stride 4), resnet18, 34, 50 or 101, resnet101_caffe, mobilenet_v2 (output stride 8), or
            timm:NAME for timm's (output stride 8 where it can be).
        every_level: return the maps of strides 4, 8, 16 and 32; timm's alone do.
        drop_path: of timm's, where they have it.
        weights: a .safetensors or .pth file with the network's own parameter names, `imagenet` for torchvision's
            download, or None for random ones.

    Raises:
        ConfigError: no such backbone, or no download for it.
        CheckpointError: the file is missing, unsafe, or of another network.
    """
    if not name.startswith(PREFIX) and name not in get_args(BackboneName):
        raise ConfigError(f"no backbone '{name}'", fix=f"use one of {', '.join(get_args(BackboneName))}, or timm:NAME")
    if name.startswith(PREFIX):
        return _timms(name, weights, every_level=every_level, drop_path=drop_path)
    if every_level:
        raise ConfigError(f"{name} gives one feature map", where="model.head", fix="take aspp, or a backbone timm:NAME")
    backbone = _tiny() if name == "tiny" else _mobilenet() if name == "mobilenet_v2" else _resnet(name)
    use_own_kernels(backbone)
    if weights is not None:
        state = _read(name, fetch(name) if weights == "imagenet" else Path(weights))
        load_strictly(backbone, state, where=weights, ignore=BEYOND_FEATURES)
    return backbone


def _timms(name: str, weights: str | Path | None, *, every_level: bool, drop_path: float) -> Backbone:
    levels = Levels(name.removeprefix(PREFIX), every=every_level, drop_path=drop_path)
    mean, std = (tuple(255 * value for value in values) for values in (levels.mean, levels.std))
    channels = levels.channels if every_level else ()
    backbone = Backbone(
        OrderedDict(levels=levels), levels.channels[-1], levels.strides[-1], _from_bytes(mean, std), channels, MULTIPLE
    )
    use_own_kernels(backbone)
    if weights == "imagenet":
        fetch(name)  # says where they are published
    elif weights is not None:
        state = _read(name, Path(weights))
        named = {key if key.startswith(OWN) else OWN + key: value for key, value in state.items()}
        load_strictly(backbone, named, where=weights, ignore=levels.beyond())
    return backbone


BEYOND_FEATURES = ("fc.", "classifier.", "acm.", "features.18.")


def _tiny() -> Backbone:
    return Backbone(OrderedDict(net=Tiny()), Tiny.out_channels, 4, NONE)


def _resnet(name: str) -> Backbone:
    caffe = name == "resnet101_caffe"
    net: nn.Module = resnet101_caffe() if caffe else getattr(torchvision.models, name)(weights=None)
    _dilate(net.get_submodule("layer3"), before=1, after=2)
    _dilate(net.get_submodule("layer4"), before=2, after=4)
    out_channels = int(net.get_submodule("fc").in_features)  # type: ignore[arg-type]
    layers = OrderedDict((key, layer) for key, layer in net.named_children() if key not in ("avgpool", "fc"))
    backbone = Backbone(layers, out_channels, 8, CAFFE if caffe else IMAGENET)
    backbone.middle = ("layer3", out_channels // 2)
    return backbone


def _mobilenet() -> Backbone:
    features: nn.Module = torchvision.models.mobilenet_v2(weights=None).features
    blocks = list(features.children())[:-1]  # the last 1x1 convolution to 1280 channels only serves classification
    for block in blocks[7:14]:
        _dilate(block, before=1, after=2)
    for block in blocks[14:]:
        _dilate(block, before=2, after=4)
    backbone = Backbone(OrderedDict(features=nn.Sequential(*blocks)), 320, 8, IMAGENET)
    backbone.middle = ("features.13", 96)
    return backbone


def _dilate(layer: nn.Module, *, before: int, after: int) -> None:
    """Keep a layer's resolution: its strided convolution steps by 1, and those behind it are dilated instead.

    The strided one itself still sees the old grid, so it keeps the dilation `before`. Works for every block type;
    torchvision's own `replace_stride_with_dilation` refuses the basic block of ResNet-18 and 34.
    """
    for conv in layer.modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        dilation = before if conv.stride != (1, 1) else after
        conv.stride = (1, 1)
        if conv.kernel_size != (1, 1):
            conv.dilation = conv.padding = (dilation, dilation)


def _read(name: str, file: Path) -> dict[str, Tensor]:
    made_for = described(file).get("backbone", name)
    if made_for != name:  # the two layouts of ResNet-101 have the same names and shapes
        raise CheckpointError(f"holds weights of {made_for}", where=file, fix=f"set model.backbone={made_for}")
    return backbone_names(read_weights(file))
