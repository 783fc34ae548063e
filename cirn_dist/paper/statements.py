"""What the paper says of each setting, in the order of the configuration: the yardstick of `show config --paper`.

A statement's source is `paper` (it is printed there), `lineage` (the paper is silent or contradicts itself, and this is
what the code it builds on does: CLAN, AdaptSegNet, BDL, CycleGAN), or `ours` (neither says; this project's choice).
A configuration of another method is judged by that one's file in configs/methods; of the paper's statements those on
data and scoring stay, which the field shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from cirn_dist.config.load import stated
from cirn_dist.config.schema import flatten

Source = Literal["paper", "lineage", "ours", "method"]


@dataclass(frozen=True)
class Statement:
    """What is said of one setting.

    Attributes:
        keys: dotted key, * for any part.
        value: what is said it is.
        says: the words, or the reason.
        recipe: only for a source domain of this recipe.
        instead: the value the shipped configurations take instead, and why: a marked difference.
    """

    keys: str
    value: Any
    says: str
    source: Source
    recipe: str = ""
    instead: tuple[Any, str] | None = None


@dataclass(frozen=True)
class Judged:
    """A setting beside what is said of it; `differs` says how it departs, empty where it does not."""

    key: str
    value: Any
    statement: Statement
    differs: str
    marked: bool


PAPER: tuple[Statement, ...] = (
    Statement("data.label_space", "cityscapes19", "19 common categories; SYNTHIA: 16 and 13 of them", "paper"),
    Statement("data.source.size", [1280, 720], "GTAV resized to 1280x720", "paper", recipe="gta5"),
    Statement("data.source.size", [1280, 760], "SYNTHIA resized to 1280x760", "paper", recipe="synthia"),
    Statement("data.source.split", "train", "all 24,966 images", "paper", recipe="gta5"),
    Statement("data.source.split", "train", "all 9,400 images", "paper", recipe="synthia"),
    Statement("data.target.size", [1024, 512], "Cityscapes resized to 1024x512", "paper"),
    Statement("data.target.split", "train", "2,975 training images for training", "paper"),
    Statement("data.target.score_split", "val", "500 validation images for testing", "paper"),
    Statement("model.backbone", "resnet101", "DeepLab-v2 with the ResNet-101 architecture", "paper"),
    Statement("model.weights", "imagenet", "pretrained on ImageNet (the lineage's file: ImageNet and COCO)", "paper"),
    Statement("model.segmenter", None, "no trained segmenter to start from", "paper"),
    Statement("model.norm", "auto", "silent; the lineage's is batch statistics of one image", "ours"),
    Statement("model.freeze_affine", True, "silent; the lineage trains no BatchNorm weights", "lineage"),
    Statement("model.head", "aspp", "DeepLab-v2", "paper"),
    Statement("model.dilations", [6, 12, 18, 24], "DeepLab-v2's four branches", "lineage"),
    Statement("model.with_acm", True, "C and ACM", "paper"),
    Statement("model.acm.k", 2, "we finally set K = 2", "paper"),
    Statement("model.acm.width", 256, "Figure 3 gives no widths", "ours"),
    Statement("model.acm.depth", 1, "Figure 3 gives no depths", "ours"),
    Statement("model.acm.residual", False, "attention maps in [0, 1] control the features", "paper"),
    Statement("model.acm.per_head", False, "the classifier in ACM: one", "paper"),
    Statement("engine.images_per_step", 1, "batch size is set to 1 for all stages", "paper"),
    Statement("engine.micro_batch", 1, "batch size is set to 1 for all stages", "paper"),
    Statement("engine.lr_scaling", "auto", "no effect at batch size 1", "ours"),
    Statement("engine.lr_warmup", 0.05, "no effect at batch size 1; larger ones need it (Goyal et al. 2017)", "ours"),
    Statement("translate.method", "cyclegan", "we apply CycleGAN", "paper"),
    Statement("translate.iterations", 100_000, "silent; CycleGAN's epochs do not fit 24,966 images", "ours"),
    Statement("translate.lr", 2e-4, "Adam, initial learning rate 2e-4", "paper"),
    Statement("translate.betas", [0.5, 0.999], "beta1 = 0.5, beta2 = 0.999", "paper"),
    Statement("translate.gan", "lsgan", "eqs. 1, 2 print the logarithm; CycleGAN's code is LSGAN", "lineage"),
    Statement("translate.lambda_cyc", 10, "eq. 5 has no weight; CycleGAN's is 10", "lineage"),
    Statement("translate.lambda_identity", 0, "eq. 5 has no identity term", "paper"),
    Statement("translate.lambda_sem", 1, "eq. 5 has no weight", "paper"),
    Statement("translate.semantic_target", "ground_truth", "eq. 4: y_s is the label of the source domain", "paper"),
    Statement("translate.colour_*", False, "no colour transfer", "paper"),
    Statement("translate.n[gd]f", 64, "CycleGAN's channels", "lineage"),
    Statement("translate.blocks", 9, "CycleGAN's nine blocks", "lineage"),
    Statement("translate.residual_output", False, "CycleGAN's generator", "lineage"),
    Statement("translate.upsampling", "transposed", "CycleGAN's generator has transposed convolutions", "lineage"),
    Statement("translate.d_layers", 3, "CycleGAN's 70x70 PatchGAN", "lineage"),
    Statement("translate.pool", 50, "CycleGAN's pool", "lineage"),
    Statement("translate.constant_share", 0.5, "CycleGAN: constant, then linear to 0", "lineage"),
    Statement("translate.load_width", 1024, "silent; CycleGAN's authors and BDL train at a width of 1024", "lineage"),
    Statement("translate.augment.crop", [452, 452], "silent; BDL trains CycleGAN on crops of 452", "lineage"),
    Statement("*.clip_norm", None, "no clipping", "lineage"),
    Statement("*.iterations", 100_000, "we train the network for 100,000 iterations", "paper"),
    Statement("self_train.init", "adapt", "stage 3 finetunes the model of stage 2", "paper"),
    Statement("*.init", "pretrained", "pretrained on ImageNet", "paper"),
    Statement("*.optimizer", "sgd", "SGD for the segmentation network", "paper"),
    Statement("*.lr", 2.5e-4, "initial learning rate 2.5e-4; the same in stage 3", "paper"),
    Statement("*.momentum", 0.9, "a momentum of 0.9", "paper"),
    Statement("*.d_weight_decay", 5e-4, "we set optimizers a weight decay of 5e-4", "paper",
              instead=(0, "CLAN's Adam for D has none, and D is CLAN's")),
    Statement("*.weight_decay", 5e-4, "a weight decay of 5e-4", "paper"),
    Statement("*.decay_over", None, "poly decay over the iterations that are trained", "paper"),
    Statement("*.power", 0.9, "a poly learning rate decay policy; its power is the lineage's", "paper"),
    Statement("*.head_lr_mult", 10, "silent; the lineage's", "lineage"),
    Statement("*.backbone_lr_mult", 1, "silent; the lineage lists parameters three times by a slip", "ours"),
    Statement("adapt.warmup", 5000, "silent; CLAN's PREHEAT", "lineage"),
    Statement("*.warmup", 0, "no warm-up", "lineage"),
    Statement("*.focal_gamma", 0, "eqs. 6 and 9: cross-entropy (CLAN's code: focal, gamma 2)", "paper"),
    Statement("*.augment.mirror", True, "silent; CLAN mirrors", "lineage"),
    Statement("*.augment.scales", [1.0], "silent; CLAN scales by 0.8 to 1.1, AdaptSegNet and BDL do not", "lineage"),
    Statement("*.augment.crop", None, "whole images", "lineage"),
    Statement("*.augment.jitter", 0, "no colour change", "lineage"),
    Statement("*.augment.blur", 0, "no blur", "lineage"),
    Statement("*.augment.max_share", 1, "crops are taken as they are drawn", "lineage"),
    Statement("*.norm_weight_decay", None, "a weight decay of 5e-4, of all parameters", "paper"),
    Statement("self_train.lambda_adv", 0, "eq. 9: the pseudo labels alone", "paper"),
    Statement("self_train.lambda_kld", 0, "eq. 9 has no regulariser", "paper"),
    Statement("self_train.lambda_entropy", 0, "eq. 9 has no regulariser", "paper"),
    Statement("adapt.lambda_adv", 0.001, "lambda_adv = 0.001", "paper"),
    Statement("adapt.shown", "softmax", "eq. 7: D on P", "paper"),
    Statement("adapt.gan", "vanilla", "eq. 7: the logarithm", "paper"),
    Statement("adapt.coarse", False, "eq. 7 weights pixels; CLAN upsamples D's logits to them", "lineage"),
    Statement("adapt.halve_d", False, "CLAN's D loss is whole", "lineage"),
    Statement("adapt.lambda_entropy", 0, "eq. 8 has no entropy term", "paper"),
    Statement("adapt.auxiliary.*", 0, "C and ACM on the last features alone", "paper"),
    Statement("adapt.*.weight", 0, "eq. 8 has no other term on the target", "paper"),
    Statement("adapt.lambda_cos", 40, "lambda_cos = 40", "paper"),
    Statement("adapt.epsilon", 0.4, "epsilon = 0.4", "paper"),
    Statement("adapt.lambda_weight", 0.02, "weight discrepancy as in CLAN: 0.01, times 2 in its code", "lineage"),
    Statement("adapt.damping", True, "silent; CLAN's 1 - i/N", "lineage"),
    Statement("adapt.acm_start", "random", "silent; the lineage's classifiers start at random", "lineage"),
    Statement("adapt.detach_weight_map", False, "at the same time make as similar predictions as possible", "paper"),
    Statement("adapt.seg_on", "separate", "eq. 6 is on the sum; with it p1 and p2 are free, so CLAN's", "lineage"),
    Statement("adapt.d_lr", 1e-4, "Adam for D, 1e-4", "paper"),
    Statement("adapt.d_betas", [0.9, 0.99], "beta1 = 0.9, beta2 = 0.99", "paper"),
    Statement("adapt.ndf", 64, "channels {64, 128, 256, 512, 1}", "paper"),
    Statement("self_train.method", "offline", "pseudo labels are made by the model of stage 2", "paper"),
    Statement("pseudo_label.rule", "bdl", "silent; BDL is the cited lineage", "lineage"),
    Statement("pseudo_label.rounds", 1, "one round", "paper"),
    Statement("pseudo_label.portion", 0.5, "silent; BDL's median", "lineage"),
    Statement("pseudo_label.cap", 0.9, "silent; BDL's cap", "lineage"),
    Statement("self_train.source_weight", 0, "eq. 9: the pseudo labels alone", "paper"),
    Statement("evaluate.flip", False, "silent; the lineage's evaluation has none", "lineage"),
    Statement("evaluate.scales", [1.0], "silent; the lineage's evaluation has one", "lineage"),
    Statement("evaluate.every", 0, "the best in many times experiments; here the last is the result", "ours"),
)  # fmt: skip

# What these say has no counterpart in the paper: names, folders, how a run is executed, rules that are not chosen.
NOT_OF_THE_PAPER = (
    "name", "method", "seed", "controls", "share", "with_*", "*.title", "data.packed", "data.codec", "data.shard_mb",
    "data.workers", "data.window", "data.max_bad", "data.*.raw", "data.*.score_raw", "data.*.recipe", "data.*.options*",
    "data.*.score_options*", "data.*.map_labels*", "data.source.score_split", "engine.*", "translate.shards",
    "translate.fda_*", "translate.checkpoint_activations",
    "translate.panel_every", "translate.quality_images",
    "adapt.max_square.ratio", "adapt.robust_entropy.*", "adapt.fda.*", "adapt.guidance.threshold",
    "self_train.online.*", "model.head_width", "model.drop*", "render.*",
    "pseudo_label.portion_*", "pseudo_label.alpha", "pseudo_label.beta", "pseudo_label.gamma", "pseudo_label.threshold",
    "pseudo_label.also", "pseudo_label.easy_*", "pseudo_label.label_entropy", "evaluate.batch",
    "evaluate.adabn*", "evaluate.panels",
)  # fmt: skip


def judge(settings: Mapping[str, Any]) -> Iterator[Judged]:
    """Compare flattened settings with what the paper, or their method, says of them, in the configuration's order.

    Raises:
        ConfigError: there is no file of the method.
    """
    recipe, method = settings.get("data.source.recipe", ""), settings.get("method")
    statements = PAPER if method is None else (*of_method(method), *filter(_is_shared, PAPER))
    for key, value in settings.items():
        said = (s for s in statements if fnmatchcase(key, s.keys) and s.recipe in ("", recipe))
        statement = next(said, None)
        if statement is not None:
            yield Judged(key, value, statement, *_difference(value, statement))


def of_method(method: str) -> tuple[Statement, ...]:
    """Return what the file of a method states; its comments say why."""
    tree = flatten(stated(method))
    return tuple(Statement(key, value, f"configs/methods/{method}", "method") for key, value in tree.items())


def _is_shared(statement: Statement) -> bool:
    return statement.keys.startswith(("data.", "evaluate.", "model.backbone", "engine.lr_"))


def _difference(value: Any, statement: Statement) -> tuple[str, bool]:
    if statement.value in ("*", value) or _plain(value) == _plain(statement.value):
        return "", False
    if statement.instead is not None and value == statement.instead[0]:
        return statement.instead[1], True
    return f"here not {statement.value}", False


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
