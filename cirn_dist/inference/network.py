"""Building a configuration's segmenter, and giving it the weights of a file or of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cirn_dist.checkpoint.folder import MANIFEST, Checkpoint
from cirn_dist.checkpoint.state import assert_classes, load_tensors
from cirn_dist.config.schema import Config
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.run_sets.label_space import run_space
from cirn_dist.models.acm import ACM
from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.fusion import Fusion
from cirn_dist.models.imported import load_imported
from cirn_dist.models.norm import convert
from cirn_dist.seeds import derive


def segmenter_of(config: Config, *, world: int, with_acm: bool, pretrained: bool = False) -> Segmenter:
    """Build the segmenter of a configuration on `world` ranks; its random weights are a function of the seed.

    Args:
        with_acm: C and ACM (stages 2 and 3), or plain DeepLab-v2.
        pretrained: whether to load the backbone's configured weights.
    """
    settings = config.model
    torch.manual_seed(derive(config.seed, "segmenter"))
    joins = settings.head != "aspp"
    weights = settings.weights if pretrained else None
    backbone = build_backbone(settings.backbone, weights, every_level=joins, drop_path=settings.drop_path)
    classes = run_space(config.data).num_classes
    fusion = None
    if settings.head != "aspp":
        fusion = Fusion(backbone.channels, settings.head, width=settings.head_width, dropout=settings.dropout)
    channels = backbone.out_channels if fusion is None else fusion.out_channels
    dilations = settings.dilations if fusion is None else (0,)
    acm = ACM(channels, classes, **settings.acm.model_dump(), dilations=dilations) if with_acm else None
    segmenter = Segmenter(
        backbone, classes, acm=acm, freeze_affine=settings.freeze_affine, dilations=dilations, fusion=fusion
    )
    norm = settings.norm
    if norm == "auto":
        norm = "sync" if world > 1 else "batch"
    return convert(segmenter, norm)


def trained(
    weights: Mapping[str, Tensor], config: Config, device: torch.device, *, where: Path, world: int = 1
) -> Segmenter:
    """Build the segmenter of these weights, on the device, for inference.

    Args:
        where: they are from.

    Raises:
        CheckpointError: they are of another network than the configuration's.
    """
    with_acm = any(key.startswith("acm.") for key in weights)
    segmenter = segmenter_of(config, world=world, with_acm=with_acm)
    load_tensors(segmenter, weights, where=where, what="segmenter")
    return for_inference(segmenter, device)


def for_inference(segmenter: Segmenter, device: torch.device) -> Segmenter:
    """Move a segmenter to the device in its layout there, not to be trained; returns it."""
    return segmenter.to(memory_format=torch.channels_last).to(device).eval().requires_grad_(False)


def load_given(segmenter: Segmenter, config: Config, space: LabelSpace) -> None:
    """Load the weights that `model.segmenter` names.

    Raises:
        CheckpointError: the file is missing, unsafe, or of another network or other classes.
    """
    file = Path(config.model.segmenter or "")
    if (file.parent / MANIFEST).is_file():  # a run's own checkpoint says what it was trained on
        assert_classes(Checkpoint.open(file.parent), space)
    load_imported(segmenter, file, backbone=config.model.backbone, space=space)
