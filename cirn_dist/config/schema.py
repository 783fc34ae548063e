"""The one configuration schema, in the order of the pipeline; the defaults are the paper's values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field, model_validator

from cirn_dist.config.groups.adapt import Adapt
from cirn_dist.config.groups.data import Data
from cirn_dist.config.groups.engine import Engine
from cirn_dist.config.groups.evaluate import Evaluate
from cirn_dist.config.groups.marks import NotBinding
from cirn_dist.config.groups.model import Model
from cirn_dist.config.groups.self_train import PseudoLabel, SelfTrain
from cirn_dist.config.groups.training import SegmenterTraining
from cirn_dist.config.groups.translate import Render, Translate
from cirn_dist.config.section import Place, Section

_BEYOND = 2  # a crop's side by the largest image's


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
        if self.method is not None:
            self._assert_crops()
        self._assert_frequencies()
        if self.with_adapt:
            self._assert_adapting()
        if self.with_self_train:
            self._assert_self_training()
        if self.engine.images_per_step % self.engine.micro_batch:
            raise ValueError("engine.images_per_step must be a multiple of engine.micro_batch")
        return self

    def _assert_crops(self) -> None:
        """Refuse a method's crops that would be border for the most part, on images far smaller than its own."""
        for stage in ("source", "cir", "adapt", "self_train"):
            augment = getattr(self, stage).augment
            sizes = (self.data.source.size, *(() if stage in ("source", "cir") else (self.data.target.size,)))
            largest = [max(side) * max(augment.scales) for side in zip(*sizes, strict=True)]
            if augment.crop is not None and any(c > _BEYOND * s for c, s in zip(augment.crop, largest, strict=True)):
                crop, size = ("x".join(f"{side:.0f}" for side in sides) for sides in (augment.crop, largest))
                raise ValueError(
                    f"{stage}.augment.crop {crop} is far larger than the images, {size} at most: set one for them"
                )

    def _assert_frequencies(self) -> None:
        """Refuse FDA's window where it has no frequency of the images: every image would stay as it is."""
        translate, fda = self.translate, self.adapt.fda
        windows = []
        if self.with_cir and translate.method == "fda":
            windows.append(("translate.fda_beta", translate.fda_beta, translate.fda_window, self.data.source.size))
        if self.with_adapt and fda.beta is not None:
            windows.append(("adapt.fda.beta", fda.beta, fda.window, self.adapt.augment.crop or self.data.target.size))
        for name, beta, window, size in windows:
            if window == "authors" and int(min(size) * beta) == 0:
                least = math.ceil(1000 / min(size)) / 1000
                raise ValueError(
                    f"{name} {beta} of {min(size)} pixels is less than one frequency: give {least} or more"
                )

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
        if self.pseudo_label.easy_share is not None:
            self._assert_easy_and_hard()
        elif self.pseudo_label.easy_rare:
            raise ValueError("pseudo_label.easy_rare ranks images for pseudo_label.easy_share, which is null")
        if self.pseudo_label.label_entropy is not None and settings.focal_gamma:
            raise ValueError("self_train.focal_gamma is for labels that are classes, not pseudo_label.label_entropy's")
        if self.is_online:
            self._assert_online()
        elif settings.lambda_adv and not settings.source_weight:
            raise ValueError("self_train.lambda_adv needs self_train.source_weight: D is shown predictions on the CIR")
        elif settings.lambda_adv and not self.with_adapt:
            raise ValueError("self_train.lambda_adv keeps stage 2's D on, and needs with_adapt")

    def _assert_easy_and_hard(self) -> None:
        if self.is_online or not self.with_adapt:
            raise ValueError("pseudo_label.easy_share is stage 2 once more: it needs with_adapt, and method offline")
        if self.pseudo_label.rounds > 1:
            raise ValueError("pseudo_label.easy_share has one round: set pseudo_label.rounds to 1")
        if self.pseudo_label.label_entropy is not None:
            raise ValueError("pseudo_label.easy_share trains on classes: set pseudo_label.label_entropy to null")
        for name in ("source_weight", "lambda_adv", "lambda_kld", "lambda_entropy"):
            if getattr(self.self_train, name):
                raise ValueError(f"self_train.{name} is no term of pseudo_label.easy_share, whose terms are stage 2's")

    def _assert_online(self) -> None:
        settings = self.self_train
        for name in ("lambda_adv", "lambda_kld", "lambda_entropy"):
            if getattr(settings, name):
                raise ValueError(f"self_train.{name} is a term of self_train.method offline; online has none")
        if self.pseudo_label.rounds > 1:
            raise ValueError("self_train.method online has no rounds: set pseudo_label.rounds to 1")
        if self.pseudo_label.label_entropy is not None:
            raise ValueError("pseudo_label.label_entropy is of self_train.method offline; online labels as it goes")
        if settings.online.feature_distance.weight and self.model.weights is None:
            raise ValueError("self_train.online.feature_distance needs model.weights: features to stay near to")
        if settings.online.feature_distance.weight and not settings.source_weight:
            raise ValueError("self_train.online.feature_distance is taken on labelled images: give source_weight too")
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
