"""The segmenter: DeepLab-v2 with the paper's classifier C and, from stage 2 on, its ancillary classifier ACM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cirn_dist.errors import ConfigError
from cirn_dist.models.acm import ACM
from cirn_dist.models.backbones import Backbone
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.fusion import Fusion
from cirn_dist.models.norm import freeze_affine as freeze_norm_affine
from cirn_dist.models.padding import crop_to, pad_to
from cirn_dist.models.resizing import resize
from cirn_dist.precision import wide

__all__ = ["Classifier", "SegOutput", "Segmenter"]


class SegOutput(NamedTuple):
    """Logits of C and of ACM (None without one), each (N, num_classes, H, W) float32 at the input's size.

    `gates` are ACM's attention maps (N, K, h, w), detached: for logging and drawing. `lowres` are the summed logits
    before they are upsampled, (N, num_classes, h, w); `deep` is the backbone's last feature map; `aux` the logits
    of the auxiliary classifier, in training, where there is one.
    """

    p1: Tensor
    p2: Tensor | None
    gates: Tensor | None = None
    lowres: Tensor | None = None
    deep: Tensor | None = None
    aux: Tensor | None = None

    @property
    def small(self) -> Tensor:
        """The prediction at the features' size."""
        assert self.lowres is not None, "a segmenter's output has it"
        return self.lowres

    @property
    def logits(self) -> Tensor:
        """The prediction: the sum of both classifiers' logits."""
        return self.p1 if self.p2 is None else self.p1 + self.p2

    @property
    def heads(self) -> list[Tensor]:
        """The logits of each classifier there is, C's first."""
        return [self.p1] if self.p2 is None else [self.p1, self.p2]

    def detach(self) -> SegOutput:
        """Return the same without gradients."""
        return SegOutput(self.p1.detach(), None if self.p2 is None else self.p2.detach(), self.gates)


class Segmenter(nn.Module):
    """DeepLab-v2 on RGB images in [-1, 1]; the backbone's own normalisation happens inside.

    Args:
        backbone: features, their channel count, stride and input normalisation.
        num_classes: channels of the logits.
        acm: the ancillary classifier; None is plain DeepLab-v2.
        freeze_affine: keep the backbone's BatchNorm weights and biases as they are, as the peers do.
        dilations: of C's branches.
        fusion: what joins the maps of a backbone that returns several, before C.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        acm: ACM | None = None,
        *,
        freeze_affine: bool = False,
        dilations: Sequence[int] = (6, 12, 18, 24),
        fusion: Fusion | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fusion = fusion
        channels = backbone.out_channels if fusion is None else fusion.out_channels
        self.classifier = Classifier(channels, num_classes, dilations)
        self.acm = acm
        self.auxiliary: Classifier | None = None
        normalisation = backbone.normalisation
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std).view(3, 1, 1), persistent=False)
        if freeze_affine:
            freeze_norm_affine(backbone)

    def add_auxiliary(self, dilations: Sequence[int]) -> None:
        """Give the backbone's middle layer a classifier, for training alone.

        Raises:
            ConfigError: the backbone has no such layer.
        """
        if self.backbone.middle is None:
            fix = "take a ResNet or mobilenet_v2, or set adapt.auxiliary to 0"
            raise ConfigError("the backbone has no layer for it", where="adapt.auxiliary", fix=fix)
        self.auxiliary = Classifier(self.backbone.middle[1], len(self.classifier.bias()), dilations)

    def forward(self, images: Tensor, size: tuple[int, int] | None = None) -> SegOutput:
        """Return the logits of (N, 3, H, W) RGB images in [-1, 1]; any size from 1x1 up.

        Args:
            size: height and width of the logits; the images' own by default. CLAN scales an image at random and
                brings its logits to the label's size.
        """
        aux: Tensor | None = None
        if self.auxiliary is not None and self.training:
            middle, deep = self.backbone.with_middle(self._padded(images))
            aux = self.upsample(self.auxiliary(middle), images, size)
        else:
            deep = self._backbone_features(images)
        features = deep if self.fusion is None else self.fusion(deep)
        last = deep if isinstance(deep, Tensor) else deep[-1]
        first = self.classifier(features)
        p1 = self.upsample(first, images, size)
        if self.acm is None:
            return SegOutput(p1, None, None, first, last, aux)
        gates = self.acm.gates(features)
        second = self.acm(features, gates)
        return SegOutput(p1, self.upsample(second, images, size), gates.detach(), wide(first) + wide(second), last, aux)

    def upsample(self, logits: Tensor, images: Tensor, size: tuple[int, int] | None) -> Tensor:
        """Return what is at the features' size at the images', without what they were padded by, or at `size`."""
        own, padded = tuple(images.shape[-2:]), self.padded_size(images)
        wanted = own if size is None else size
        if padded == own:
            return _resize(logits, wanted)
        whole = crop_to(_resize(logits, padded), images)
        return whole if wanted == own else _resize(whole, wanted)

    def features(self, images: Tensor) -> Tensor:
        """Return the features that C and ACM see of (N, 3, H, W) RGB images in [-1, 1]: (N, channels, h, w)."""
        deep = self._backbone_features(images)
        features: Tensor = deep if self.fusion is None else self.fusion(deep)
        return features

    def deep(self, images: Tensor) -> Tensor:
        """Return the backbone's last feature map of (N, 3, H, W) images in [-1, 1]."""
        maps = self._backbone_features(images)
        last: Tensor = maps if isinstance(maps, Tensor) else maps[-1]
        return last

    def _backbone_features(self, images: Tensor) -> Any:
        """Return the backbone's feature map, or its maps, the finest first."""
        return self.backbone(self._padded(images))

    def _padded(self, images: Tensor) -> Tensor:
        height, width = self.padded_size(images)
        return self.normalise(pad_to(images, height, width))

    def padded_size(self, images: Tensor) -> tuple[int, int]:
        """Return the height and width that images are padded to for the backbone."""
        # One feature pixel has no batch statistics: a tiny image is padded until every layer has several.
        smallest, multiple = 2 * self.backbone.output_stride + 1, self.backbone.multiple
        height, width = (-(-max(side, smallest) // multiple) * multiple for side in images.shape[-2:])
        return height, width

    def normalise(self, images: Tensor) -> Tensor:
        """Return RGB images in [-1, 1] as the backbone's weights expect them."""
        if self.backbone.normalisation.bgr:
            images = images.flip(1)
        return (images - self.mean) / self.std

    @property
    def mean_colour(self) -> Tensor:
        """The RGB colour in [-1, 1] that the backbone is given as 0, (3, 1, 1)."""
        return self.mean.flip(0) if self.backbone.normalisation.bgr else self.mean

    def parameter_groups(
        self,
        lr: float,
        *,
        head_lr_mult: float = 10.0,
        backbone_lr_mult: float = 1.0,
        norm_weight_decay: float | None = None,
    ) -> list[dict[str, Any]]:
        """Return the optimizer's groups `backbone` and `heads` (C and ACM): every trainable parameter exactly once.

        The lineage lists most backbone parameters three times, which steps them three times: `backbone_lr_mult=3`
        is what it does, 1 what it says.

        Args:
            norm_weight_decay: of the backbone's norms, a group `norms` of their own; None keeps them with the backbone.
        """
        heads = [p for name, p in self.named_parameters() if not name.startswith("backbone.")]
        apart = set() if norm_weight_decay is None else _of_norms(self.backbone)
        body = [p for p in self.backbone.parameters() if p not in apart]
        norms = [p for p in self.backbone.parameters() if p in apart]
        groups = [
            ("backbone", body, backbone_lr_mult),
            ("norms", norms, backbone_lr_mult),
            ("heads", heads, head_lr_mult),
        ]
        found: list[dict[str, Any]] = [
            {"name": name, "params": trainable, "lr": lr * factor}
            for name, parameters, factor in groups
            if (trainable := [p for p in parameters if p.requires_grad])
        ]
        for group in found:
            if group["name"] == "norms":
                group["weight_decay"] = norm_weight_decay
        return found


def _of_norms(module: nn.Module) -> set[nn.Parameter]:
    """Return the parameters of normalisation layers."""
    kinds = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
    return {p for layer in module.modules() if isinstance(layer, kinds) for p in layer.parameters(recurse=False)}


def _resize(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    return resize(wide(logits), size)
