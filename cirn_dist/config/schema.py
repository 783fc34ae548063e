"""The one configuration schema, in the order of the pipeline; the defaults are the paper's values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from cirn_dist.choices import (
    AcmStart,
    AskedPrecision,
    BackboneName,
    Backend,
    CirMethod,
    Codec,
    Gan,
    Head,
    Init,
    LrScaling,
    Mixing,
    Norm,
    PseudoLabelRule,
    RenderPrecision,
    SegmenterOptimizer,
    SegOn,
    SelfTrainMethod,
    SemanticTarget,
    Shown,
    TrackerName,
    Upsampling,
)
from cirn_dist.config.problems import problems
from cirn_dist.config.section import LARGEST, SMALLEST, Beta, CropSide, Located, Place, Scale, Section, Size
from cirn_dist.errors import nearest

Option = int | float | str | bool | None
# An iteration is one image of each domain: numbers of them count images, and a step takes engine.images_per_step.
Iterations = Annotated[int, "iterations"]
_Value = TypeVar("_Value")
# A setting of how a run is executed, not of what it computes: it may change between two starts.
NotBinding = Annotated[_Value, "not binding"]


Byte = Annotated[int, Field(ge=0, le=255)]
BlurRadius = Annotated[float, Field(gt=0, le=100)]


class OwnSpace(Section):
    """A label space of one's own: pixel value i is classes[i], 255 is ignored."""

    name: str = Field(min_length=1, description="how messages and shard sets call it")
    classes: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1, max_length=255)
    palette: tuple[tuple[Byte, Byte, Byte], ...] = Field(description="one RGB colour per class")
    subsets: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="named groups of classes whose mean IoU is also given"
    )

    @model_validator(mode="after")
    def _told_apart(self) -> OwnSpace:
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.palette)} palette colours for {len(self.classes)} classes; give one each")
        for what, values in (("class", self.classes), ("colour", self.palette)):
            twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
            if twice is not None:
                raise ValueError(f"the {what} {twice!r} is there twice")
        if "ignore" in self.classes:
            raise ValueError("no class can be called 'ignore': that is what 255 means")
        for subset, names in self.subsets.items():
            unknown = sorted(set(names) - set(self.classes))
            if unknown or not names:
                raise ValueError(f"subset {subset!r} has {f'no class {unknown[0]!r}' if unknown else 'no classes'}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)  # spaces were written without subsets once, and are digested
        return {key: value for key, value in written.items() if key != "subsets" or value}


def _own_space(value: object) -> object:
    """Read a mapping as an OwnSpace alone: its mistakes are told, not that it is no name either."""
    if not isinstance(value, Mapping):
        return value
    try:
        return OwnSpace.model_validate(value)
    except ValidationError as error:
        raise ValueError("; ".join(map(str, problems(error, OwnSpace)))) from None


Space = Annotated[str | OwnSpace, BeforeValidator(_own_space)]


class Domain(Section):
    """One domain: a dataset recipe and where its raw files are."""

    recipe: Annotated[str, Located(kind="shards")] = Field(
        min_length=1, description="a name in shards/ or the path of a recipe file"
    )
    raw: NotBinding[Place] = Field(None, description="the raw dataset's folder; procedural recipes need none")
    size: Size = Field(description="width and height the images are packed and trained at")
    split: str = "train"
    options: dict[str, Option] = Field(default_factory=dict, description="recipe options for the training split")
    score_split: str | None = Field(None, description="a labelled split used for scoring only")
    score_options: dict[str, Option] = Field(default_factory=dict)
    score_raw: NotBinding[Place] = Field(
        None, description="the folder of the scored images, where it is another than raw"
    )
    map_labels: dict[str, str] | None = Field(
        None, description="labels of another space: its class -> data.label_space's; {} where equal names are enough"
    )


class Data(Section):
    """Both domains and how they are read."""

    label_space: Annotated[Space | None, Located(kind="shards")] = Field(
        None, description="cityscapes19, synthia16, camvid11, a recipe, or {name, classes, palette}; null: the source's"
    )
    source: Domain
    target: Domain
    packed: NotBinding[Place] = Field(
        None,
        description="a folder of packed sets that runs share, each packed there once; null: the run's own",
    )
    codec: Codec = "jpeg95"
    shard_mb: float = Field(128, gt=0, description="size at which a shard is closed; ranks render whole shards")
    workers: NotBinding[int] = Field(2, ge=0, description="loader processes per rank")
    window: int = Field(16, ge=1, description="shards pooled when the order is shuffled")
    max_bad: NotBinding[int] = Field(10, ge=0, description="unreadable samples replaced before the run ends")


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
        0.0, ge=0, lt=1, description="channels dropped before the classifier of such a head; draws differ by rank"
    )
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="branches of timm's dropped in training; draws differ by rank"
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


class Engine(Section):
    """What a step is and how a run is kept."""

    images_per_step: int = Field(1, ge=1, description="B, the global batch: world x micro_batch x accumulation")
    micro_batch: NotBinding[int] = Field(1, ge=1, description="b, images in one forward pass of one rank")
    precision: NotBinding[AskedPrecision] = Field(
        "auto", description="auto goes by the hardware; fp64 is for comparing runs, not for training"
    )
    backend: NotBinding[Backend] = Field(
        "ddp", description="who sums gradients over ranks; exact: in integers, for the same bits on any number of ranks"
    )
    zero_stage: NotBinding[Literal[0, 1, 2]] = Field(
        1, description="of deepspeed: 1 shards optimizer state over ranks, 2 gradients too, 0 neither"
    )
    deterministic: NotBinding[bool] = Field(
        False,
        description="on GPUs: a resumed run has the bits of an undisturbed one, at some speed; on CPUs it always has",
    )
    tf32: NotBinding[bool] = Field(
        False,
        description="on GPUs since A100, of fp32 alone: convolutions round what they multiply to 10 bits, and are fast",
    )
    lr_scaling: LrScaling = "auto"
    lr_warmup: float = Field(
        0.05, ge=0, le=1, description="share of a stage in which a scaled rate grows from batch 1's; no effect unscaled"
    )
    checkpoint_every: NotBinding[Iterations] = Field(2000, ge=1, description="images between checkpoints")
    keep: NotBinding[int] = Field(2, ge=2, description="newest checkpoints kept")
    keep_every: NotBinding[Iterations] = Field(
        0, ge=0, description="images between checkpoints kept for good; 0 is none"
    )
    log_every: NotBinding[Iterations] = Field(100, ge=1, description="images between lines of metrics.jsonl")
    max_nonfinite: NotBinding[int] = Field(10, ge=1, description="skipped steps in a row before the run ends")
    time_reductions: NotBinding[bool] = Field(False, description="log what the gradients' all-reduces cost; with ddp")
    trackers: NotBinding[tuple[TrackerName, ...]] = Field((), description="beside metrics.jsonl")
    ranks: NotBinding[int | None] = Field(
        None, ge=1, description="how many there must be; null takes the launcher's word"
    )
    start_timeout: NotBinding[float] = Field(
        1800, gt=0, le=10**7, description="seconds a rank waits for the others outside a step"
    )
    step_timeout: NotBinding[float] = Field(600, ge=0, le=10**7, description="seconds a step may take; 0 is no limit")
    check_replicas_every: NotBinding[Iterations] = Field(
        1000, ge=0, description="images between comparisons over ranks; 0: never"
    )

    @field_validator("zero_stage", mode="before")
    @classmethod
    def _parameters_stay_whole(cls, stage: object) -> object:
        if stage == 3:
            raise ValueError("3 shards the parameters, which others' passes and evaluation need whole: 0, 1 or 2")
        return stage


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


class Translate(Section):
    """Stage 1: CycleGAN with semantic consistency, or another way to the CIR, which needs none of its settings."""

    method: CirMethod = Field(
        "cyclegan",
        description="fda: low-frequency amplitudes of a target image; reinhard: its colours; shards: ready-made images",
    )
    shards: Place = Field(None, description="shards: the set of translated images, with the source's keys")
    fda_beta: float = Field(0.01, ge=0, le=0.5, description="fda: share of the image's frequencies, in each direction")
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


class MaxSquare(Section):
    """The maximum squares loss on the target (Chen et al. 2019)."""

    weight: float = Field(0.0, ge=0)
    ratio: float | None = Field(None, ge=0, le=1, description="image-wise class weights (0.2); null: the plain loss")


class RobustEntropy(Section):
    """The entropy of the target's prediction, to a power (FDA, Yang and Soatto 2020)."""

    weight: float = Field(0.0, ge=0)
    eta: float = Field(2.0, gt=0)
    after: Iterations = Field(0, ge=0, description="images of training before it counts")


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


class Evaluate(Section):
    """Scoring on the target."""

    batch: NotBinding[int] = Field(4, ge=1)
    flip: bool = Field(False, description="average with the mirrored image's prediction")
    scales: tuple[Scale, ...] = Field((1.0,), min_length=1, description="average predictions at these sizes")
    every: Iterations = Field(0, ge=0, description="images between scores while training; 0 scores the end only")
    adabn: bool = Field(True, description="also score with BatchNorm statistics of unlabelled target images")
    adabn_images: int = Field(200, ge=1)
    panels: NotBinding[int] = Field(6, ge=0, description="example images in the report")


class Config(Section):
    """A whole run."""

    name: str = Field("run", pattern=r"^[\w.-]+$")
    method: NotBinding[str | None] = Field(
        None, min_length=1, description="the file of configs/methods whose statements these are; null: the paper's"
    )
    seed: int = Field(0, ge=0)
    data: Data
    model: Model = Model()
    engine: Engine = Engine()
    source: SegmenterTraining = SegmenterTraining()
    translate: Translate = Translate()
    render: Render = Render()
    cir: SegmenterTraining = SegmenterTraining()
    adapt: Adapt = Adapt()
    pseudo_label: PseudoLabel = PseudoLabel()
    self_train: SelfTrain = SelfTrain()
    evaluate: Evaluate = Evaluate()
    share: NotBinding[Place] = Field(
        None, description="a folder of runs whose finished stages are taken where all that makes them is the same"
    )
    with_cir: bool = Field(True, description="false: adapt from the source itself (Table 4 without CIR)")
    with_adapt: bool = Field(True, description="false: no stage 2, for methods that have none")
    with_self_train: bool = Field(True, description="false: no stage 3, for methods that have none")
    controls: bool = Field(True, description="also train each stage's control of the same length")

    @property
    def is_online(self) -> bool:
        """Whether stage 3's labels are made as it goes, by a teacher."""
        return self.self_train.method == "online"

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.source.init != "pretrained":
            raise ValueError("source.init must be pretrained: no stage comes before it")
        if self.cir.init in ("cir", "adapt") or self.adapt.init == "adapt":
            raise ValueError("cir.init and adapt.init come before the adapt stage: use pretrained or source")
        if (self.translate.method == "shards") != (self.translate.shards is not None):
            raise ValueError("translate.shards is the set of translated images that translate.method=shards takes")
        if self.with_adapt:
            self._assert_adapting()
        if self.with_self_train:
            self._assert_self_training()
        if self.engine.images_per_step % self.engine.micro_batch:
            raise ValueError("engine.images_per_step must be a multiple of engine.micro_batch")
        return self

    def _assert_adapting(self) -> None:
        settings, acm = self.adapt, self.model.with_acm
        if settings.guidance.weight and not acm:
            raise ValueError("adapt.guidance teaches ACM, and needs model.with_acm")
        if settings.coarse and acm:
            raise ValueError(
                "adapt.coarse has no pixels for the weights by C's and ACM's distance: set model.with_acm to false"
            )
        if settings.auxiliary.lambda_seg and not (settings.auxiliary.lambda_adv or settings.auxiliary.lambda_entropy):
            raise ValueError(
                "adapt.auxiliary.lambda_seg alone adapts nothing: give lambda_adv or lambda_entropy as well"
            )
        if settings.auxiliary.lambda_adv and not settings.lambda_adv:
            raise ValueError("adapt.auxiliary.lambda_adv is beside adapt.lambda_adv, which is 0")
        terms = [settings.lambda_adv, settings.lambda_entropy, settings.max_square.weight]
        terms += [settings.robust_entropy.weight, settings.guidance.weight, settings.lambda_weight if acm else 0]
        if not any(terms):
            raise ValueError("adapt has no term on the target: give one a weight, or set with_adapt to false")

    def _assert_self_training(self) -> None:
        settings = self.self_train
        if settings.init == "adapt" and not self.with_adapt:
            raise ValueError("self_train.init adapt needs with_adapt: without stage 2 use cir, source or pretrained")
        if settings.method == "online":
            self._assert_online()
        elif settings.lambda_adv and not settings.source_weight:
            raise ValueError("self_train.lambda_adv needs self_train.source_weight: D is shown predictions on the CIR")
        elif settings.lambda_adv and not self.with_adapt:
            raise ValueError("self_train.lambda_adv keeps stage 2's D on, and needs with_adapt")

    def _assert_online(self) -> None:
        settings = self.self_train
        for name in ("lambda_adv", "lambda_kld", "lambda_entropy"):
            if getattr(settings, name):
                raise ValueError(f"self_train.{name} is a term of self_train.method offline; online has none")
        if self.pseudo_label.rounds > 1:
            raise ValueError("self_train.method online has no rounds: set pseudo_label.rounds to 1")
        if settings.online.feature_distance.weight and self.model.weights is None:
            raise ValueError("self_train.online.feature_distance needs model.weights: features to stay near to")
        sizes, crop = (self.data.source.size, self.data.target.size), settings.augment.crop
        if crop is None and (sizes[0] != sizes[1] or settings.augment.scales != (1.0,)):
            raise ValueError("self_train.method online mixes images of one size: set self_train.augment.crop")


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {dotted key: value} of a nested dictionary."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        flat.update(flatten(value, f"{dotted}.") if isinstance(value, dict) and value else {dotted: value})
    return flat


def marked(mark: str, group: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of every setting that has a mark: "iterations" or "not binding"."""
    for name, field in group.model_fields.items():
        if mark in field.metadata:
            yield f"{prefix}{name}"
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from marked(mark, field.annotation, f"{prefix}{name}.")


def within(key: str, groups: Iterable[str]) -> bool:
    """Whether a dotted key is one of `groups` or in one of them, as `adapt.lr` is in `adapt`."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)
