"""The segmenter: its backbone, head and ancillary classifier."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import AfterValidator, Field

from cirn_dist.choices import BackboneName, Head, Norm
from cirn_dist.config.section import Located, Section
from cirn_dist.errors import nearest


class Acm(Section):
    """The ancillary classifier module."""

    k: int = Field(2, ge=0, description="attention modules; 0 is a plain second classifier")
    width: int = Field(256, ge=1, description="channels of an attention module's hidden layer")
    depth: int = Field(1, ge=0, description="hidden layers of an attention module")
    residual: bool = False
    per_head: bool = False


def _known_backbone(name: str) -> str:
    """Refuse what is neither one of this package's nor timm's; whether timm has it is seen where it is built."""
    known = get_args(BackboneName)
    if name not in known and not (name.startswith("timm:") and len(name) > len("timm:")):
        raise ValueError(f"no backbone {name!r}: {nearest(name, [*known])}, or timm:NAME")
    return name


class Model(Section):
    """The segmenter: DeepLab-v2 with C and ACM."""

    backbone: Annotated[str, AfterValidator(_known_backbone)] = Field(
        "resnet101", description="timm:NAME is any of timm's with feature maps"
    )
    weights: Annotated[str | None, Located(("imagenet",))] = Field(
        "imagenet", description="imagenet (torchvision's download), a file, or null"
    )
    head: Head = Field("aspp", description="daformer, segformer: join four levels of a backbone timm:NAME")
    head_width: int = Field(256, ge=1, description="channels of a head that joins levels")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="channels dropped before the classifier of such a head, drawn by micro-batch"
    )
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="branches of timm's dropped in training, drawn by micro-batch"
    )
    segmenter: Annotated[str | None, Located()] = Field(
        None, description="a file of import-weights: backbone, C and ACM that init: pretrained starts from"
    )
    norm: Norm = "auto"
    freeze_affine: bool = True
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (6, 12, 18, 24), min_length=1, description="of the classifiers' branches; part of the lineage has 6, 12"
    )
    with_acm: bool = Field(True, description="false: C alone in stages 2 and 3 too, as the methods without ACM have it")
    acm: Acm = Acm()
