"""Stage 1: the way to the CIR, and its rendering."""

from __future__ import annotations

from pydantic import Field

from cirn_dist.choices import CirMethod, FdaWindow, Gan, RenderPrecision, SemanticTarget, Upsampling
from cirn_dist.config.groups.marks import Iterations, NotBinding
from cirn_dist.config.groups.training import Augment
from cirn_dist.config.section import LARGEST, SMALLEST, Beta, Place, Section


class Translate(Section):
    """Stage 1: CycleGAN with semantic consistency, or another way to the CIR, which needs none of its settings."""

    method: CirMethod = Field(
        "cyclegan",
        description="fda: low-frequency amplitudes of a target image; reinhard: its colours; shards: ready-made images",
    )
    shards: Place = Field(None, description="shards: the set of translated images, with the source's keys")
    fda_beta: float = Field(0.01, ge=0, le=0.5, description="fda: share of the image's frequencies, in each direction")
    fda_window: FdaWindow = Field(
        "symmetric", description="fda: as it is described; or as its authors' training has it"
    )
    iterations: Iterations = Field(100_000, ge=1, description="images of each domain that the stage trains on")
    lr: float = Field(2e-4, gt=0)
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    gan: Gan = "lsgan"
    lambda_cyc: float = Field(10.0, ge=0)
    lambda_identity: float = Field(0.0, ge=0)
    lambda_sem: float = Field(1.0, ge=0)
    semantic_target: SemanticTarget = "ground_truth"
    colour_match: bool = Field(False, description="Reinhard's colour transfer to a target image before the generator")
    colour_curve: bool = Field(
        False, description="colour transfer: a tone curve in place of lightness's mean and spread"
    )
    colour_noise: bool = Field(False, description="colour transfer: the target image's sensor noise too")
    ngf: int = Field(64, ge=1)
    blocks: int = Field(9, ge=1)
    residual_output: bool = Field(False, description="G(x) = x + n(x), n zero at the start")
    upsampling: Upsampling = Field("transposed", description="resize leaves no checkerboard")
    ndf: int = Field(64, ge=1)
    d_layers: int = Field(3, ge=1, description="3 is the 70x70 PatchGAN")
    pool: int = Field(50, ge=0, description="translated images remembered for the discriminators")
    constant_share: float = Field(0.5, ge=0, le=1)
    panel_every: NotBinding[Iterations] = Field(
        5000, ge=0, description="images between pictures of the training; 0 draws none"
    )
    quality_images: NotBinding[int] = Field(
        200, ge=0, description="images of each set that the CIR's quality is measured on"
    )
    checkpoint_activations: NotBinding[bool] = Field(
        False, description="recompute the generators' blocks in the backward pass"
    )
    clip_norm: float | None = Field(None, gt=0)
    load_width: int | None = Field(
        None,
        ge=SMALLEST,
        le=LARGEST,
        description="training images are scaled to this width before the crop, null keeps the packed size; the CIR is "
        "rendered at the packed size, its labels' own",
    )
    augment: Augment = Augment(crop=(452, 452))


class Render(Section):
    """Writing the CIR."""

    batch: NotBinding[int] = Field(1, ge=1)
    precision: NotBinding[RenderPrecision | None] = Field(None, description="null is engine.precision")
    tile: int | None = Field(
        None, ge=64, description="side of overlapping tiles, for images too large for the memory; null is whole"
    )
