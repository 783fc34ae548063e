"""Scoring on the target."""

from __future__ import annotations

from pydantic import Field

from cirn_dist.config.groups.marks import Iterations, NotBinding
from cirn_dist.config.section import Scale, Section


class Evaluate(Section):
    """Scoring on the target."""

    batch: NotBinding[int] = Field(4, ge=1)
    flip: bool = Field(False, description="average with the mirrored image's prediction")
    scales: tuple[Scale, ...] = Field((1.0,), min_length=1, description="average predictions at these sizes")
    every: Iterations = Field(0, ge=0, description="images between scores while training; 0 scores the end only")
    adabn: bool = Field(True, description="also score with BatchNorm statistics of unlabelled target images")
    adabn_images: int = Field(200, ge=1)
    panels: NotBinding[int] = Field(6, ge=0, description="example images in the report")
