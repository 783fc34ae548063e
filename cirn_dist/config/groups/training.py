"""How a stage trains the segmenter, and what happens to its images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from cirn_dist.choices import Init, SegmenterOptimizer
from cirn_dist.config.groups.marks import Iterations
from cirn_dist.config.section import CropSide, Scale, Section


class Augment(Section):
    """What happens to a training image; draws are a function of (seed, stream, k)."""

    mirror: bool = True
    scales: tuple[Scale, ...] = Field((1.0,), min_length=1)
    crop: tuple[CropSide, CropSide] | None = None
    jitter: float = Field(0.0, ge=0, le=1, description="strength of brightness, contrast, saturation and hue changes")
    blur: float = Field(0.0, ge=0, description="largest Gaussian radius, pixels")
    max_share: float = Field(
        1.0, gt=0, le=1, description="a labelled crop is drawn anew until no class fills this share of it"
    )


class SegmenterTraining(Section):
    """How a stage trains the segmenter."""

    iterations: Iterations = Field(100_000, ge=1, description="images of each domain that the stage trains on")
    init: Init = "pretrained"
    optimizer: SegmenterOptimizer = "sgd"
    lr: float = Field(2.5e-4, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    head_lr_mult: float = Field(10.0, gt=0)
    backbone_lr_mult: float = Field(1.0, gt=0, description="1 is the paper; 3 is what the peers' code does")
    power: float = Field(0.9, ge=0, description="of the poly decay; 0 keeps the rate")
    decay_over: Annotated[int | None, "iterations"] = Field(
        None, ge=1, description="images over which rates and damping decay to 0; null: the stage's own iterations"
    )
    warmup: Iterations = Field(0, ge=0, description="images of linear warm-up")
    clip_norm: float | None = Field(None, gt=0)
    norm_weight_decay: float | None = Field(
        None, ge=0, description="of the backbone's norms; null: as of the rest, DAFormer 0"
    )
    focal_gamma: float = Field(0.0, ge=0, description="0 is cross-entropy (eq. 6); CLAN's code has 2")
    augment: Augment = Augment()

    @property
    def horizon(self) -> int:
        """Where poly decay and damping reach 0."""
        return self.decay_over or self.iterations

    @model_validator(mode="after")
    def _decays_long_enough(self) -> SegmenterTraining:
        if self.decay_over is not None and self.decay_over < self.iterations:
            raise ValueError(f"decay_over {self.decay_over} is less than iterations {self.iterations}: rates end at 0")
        return self
