"""Stage 3: pseudo labels made before the training, or by a teacher as it goes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from cirn_dist.choices import Init, Mixing, PseudoLabelRule, SelfTrainMethod
from cirn_dist.config.groups.marks import BlurRadius, NotBinding
from cirn_dist.config.groups.training import SegmenterTraining
from cirn_dist.config.section import Located, Section


class PseudoLabel(Section):
    """Pseudo labels of the target images."""

    rule: PseudoLabelRule = Field("bdl", description="which predictions become labels")
    rounds: int = Field(1, ge=1, description="label, train, label again: how often")
    portion: float = Field(0.5, gt=0, le=1, description="bdl, crst: most confident share per class; 0.5 is the median")
    portion_growth: float = Field(0.0, ge=0, le=1, description="bdl, crst: added to the portion in each later round")
    portion_max: float = Field(1.0, gt=0, le=1)
    cap: float = Field(0.9, gt=0, le=1, description="bdl: a threshold never exceeds this")
    alpha: float = Field(0.2, gt=0, le=1, description="iast: share of an image's pixels of a class, at threshold 1")
    beta: float = Field(0.9, ge=0, lt=1, description="iast: how much of the thresholds an image leaves as they were")
    gamma: float = Field(8.0, ge=0, description="iast: how much less of a class with a low threshold is kept")
    threshold: float = Field(0.95, ge=0, le=1, description="fixed: least confidence, for all classes")
    label_entropy: float | None = Field(
        None, gt=0, description="crst: weight of the labels' own entropy, which makes them soft (LRENT); null: classes"
    )
    easy_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="the most certain images, taken as labelled; stage 2 again, from them to the others",
    )
    easy_rare: tuple[str, ...] | None = Field(
        None, description="classes each of which that is predicted in an image makes it count as easier (IntraDA)"
    )
    also: Annotated[tuple[str, ...], Located()] = Field(
        (), description="other runs, whose networks' probabilities are averaged with this one's (FDA's three bands)"
    )

    @model_validator(mode="after")
    def _assert_soft(self) -> PseudoLabel:
        if self.label_entropy is not None and self.rule != "crst":
            raise ValueError(f"label_entropy softens the labels of rule crst; rule {self.rule} has classes alone")
        return self


class RareClassSampling(Section):
    """Labelled images drawn by a class, rare ones more often (DAFormer, Hoyer et al. 2022)."""

    temperature: float | None = Field(None, gt=0, description="the smaller, the rarer the classes; null: in turn")
    min_pixels: int = Field(1373, ge=0, description="an image is drawn for a class of which it has more, as packed")
    min_crop_ratio: float = Field(0.5, ge=0, le=1, description="share of them that its crop is to have")


class FeatureDistance(Section):
    """Features of things kept near those of the initial backbone (DAFormer)."""

    weight: float = Field(0.0, ge=0)
    classes: tuple[str, ...] = Field((), description="the things; names of data.label_space")
    min_share: float = Field(0.75, gt=0.5, le=1, description="of a feature's cell that is of one class")


class Online(Section):
    """Stage 3 with a teacher that labels each target image as it comes (DACS, Tranheden et al. 2021)."""

    threshold: float = Field(0.968, ge=0, le=1, description="pixels at least so certain count in an image's weight")
    teacher_decay: float = Field(0.99, ge=0, lt=1, description="what the teacher keeps of itself")
    teacher_decay_images: int = Field(2, ge=1, description="images of each domain over which it keeps that share")
    mixing: Mixing = Field("class", description="class: half of a source image's classes pasted; none: target alone")
    jitter: float = Field(0.25, ge=0, le=0.5, description="strength of the colour changes of the mixed image")
    jitter_share: float = Field(0.8, ge=0, le=1, description="of the mixed images")
    blur: tuple[BlurRadius, BlurRadius] = Field((0.15, 1.15), description="range of the Gaussian's sigma, pixels")
    blur_share: float = Field(0.5, ge=0, le=1, description="of the mixed images")
    mask_weight: float = Field(0.0, ge=0, description="weight of the masked target image's term (MIC: 1)")
    mask_block: int = Field(64, ge=1, description="side of the masked squares, pixels; MIC: 64 at crops of 1024")
    mask_ratio: float = Field(0.7, ge=0, le=1, description="share of the squares that is masked")
    rare_classes: RareClassSampling = RareClassSampling()
    feature_distance: FeatureDistance = FeatureDistance()

    @field_validator("blur")
    @classmethod
    def _in_order(cls, blur: tuple[float, float]) -> tuple[float, float]:
        if blur[0] > blur[1]:
            raise ValueError(f"{blur[0]} to {blur[1]} is no range: give the smaller sigma first")
        return blur


class SelfTrain(SegmenterTraining):
    """Stage 3: training on the target's pseudo labels."""

    method: SelfTrainMethod = Field(
        "offline", description="offline: labels made before the training; online: a teacher's, made as it goes"
    )
    title: NotBinding[str | None] = Field(
        None, min_length=1, description="what tables and reports call it; null: ST or online ST"
    )
    init: Init = "adapt"
    source_weight: float = Field(0.0, ge=0, description="weight of the CIR's own cross-entropy; eq. 9 has none")
    lambda_adv: float = Field(0.0, ge=0, description="stage 2's adversarial term, kept on; eq. 9 has none")
    lambda_kld: float = Field(
        0.0, ge=0, description="confidence penalty where labelled: CRST 0.01 (paper 0.1), IAST 0.1"
    )
    lambda_entropy: float = Field(0.0, ge=0, description="entropy where there is no label; IAST 3")
    online: Online = Online()
