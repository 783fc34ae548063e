"""Stage 2: the adversarial adaptation, and the terms of other methods."""

from __future__ import annotations

from pydantic import Field

from cirn_dist.choices import AcmStart, FdaWindow, Gan, SegOn, Shown
from cirn_dist.config.groups.marks import Iterations, NotBinding
from cirn_dist.config.groups.training import Augment, SegmenterTraining
from cirn_dist.config.section import Beta, Section


class MaxSquare(Section):
    """The maximum squares loss on the target (Chen et al. 2019)."""

    weight: float = Field(0.0, ge=0)
    ratio: float | None = Field(None, ge=0, le=1, description="image-wise class weights (0.2); null: the plain loss")


class RobustEntropy(Section):
    """The entropy of the target's prediction, to a power (FDA, Yang and Soatto 2020)."""

    weight: float = Field(0.0, ge=0)
    eta: float = Field(2.0, gt=0)
    after: Iterations = Field(0, ge=0, description="images of training before it counts")


class Fda(Section):
    """Labelled images with a target image's low frequencies, another at each step (FDA, as its authors train)."""

    beta: float | None = Field(None, ge=0, le=0.5, description="share of the crop's frequencies; null: as they are")
    window: FdaWindow = Field("authors", description="as its authors' training has it; or as it is described")


class Guidance(Section):
    """ACM is taught where C or ACM is certain (Chen et al. 2019, between two levels of features)."""

    weight: float = Field(0.0, ge=0)
    threshold: float = Field(0.95, ge=0, le=1)


class Auxiliary(Section):
    """A second classifier on the features before the last ones, in training alone (AdaptSegNet, ADVENT)."""

    lambda_seg: float = Field(0.0, ge=0, description="of its cross-entropy on the labelled images: 0.1")
    lambda_adv: float = Field(0.0, ge=0, description="against a discriminator of its own: 0.0002")
    lambda_entropy: float = Field(0.0, ge=0, description="of the target's entropy there: 0.0002")

    @property
    def used(self) -> bool:
        """Whether there is one."""
        return any((self.lambda_seg, self.lambda_adv, self.lambda_entropy))


class Adapt(SegmenterTraining):
    """Stage 2: adversarial adaptation, weighted pixel by pixel; and the terms of other methods."""

    title: NotBinding[str] = Field("ASS", min_length=1, description="what tables and reports call it")
    warmup: Iterations = Field(5000, ge=0, description="images of linear warm-up and of unweighted adversarial loss")
    acm_start: AcmStart = Field(
        "random", description="ACM's classifier where init gives a trained C: random, or a copy of C (short runs)"
    )
    lambda_adv: float = Field(0.001, ge=0, description="of the adversarial term; 0: there is no D")
    shown: Shown = Field("softmax", description="to D: the prediction, or its self-information (AdvEnt)")
    gan: Gan = Field("vanilla", description="D's loss; lsgan is AdaptSegNet's other choice")
    coarse: bool = Field(False, description="average over D's own pixels; false: over the image's, as CLAN does")
    halve_d: bool = Field(False, description="half of D's loss, as AdaptSegNet and ADVENT have it")
    lambda_entropy: float = Field(0.0, ge=0, description="entropy of the target's prediction: MinEnt 0.001")
    max_square: MaxSquare = MaxSquare()
    robust_entropy: RobustEntropy = RobustEntropy()
    fda: Fda = Fda()
    guidance: Guidance = Guidance()
    auxiliary: Auxiliary = Auxiliary()
    lambda_cos: float = Field(40.0, ge=0)
    epsilon: float = Field(0.4, ge=0)
    lambda_weight: float = Field(0.02, ge=0, description="weight discrepancy; CLAN's 0.01 times its hidden 2")
    damping: bool = True
    detach_weight_map: bool = False
    seg_on: SegOn = "separate"
    d_lr: float = Field(1e-4, gt=0)
    d_betas: tuple[Beta, Beta] = (0.9, 0.99)
    d_weight_decay: float = Field(0.0, ge=0)
    ndf: int = Field(64, ge=1)
    augment: Augment = Augment()
