"""The parts several stages build: the segmenter, its player, and the streams they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from cirn_dist.checkpoint.state import load_component
from cirn_dist.choices import Optimizer
from cirn_dist.config.groups.self_train import RareClassSampling
from cirn_dist.config.groups.training import Augment, SegmenterTraining
from cirn_dist.config.schema import Config
from cirn_dist.data.labels import in_classes
from cirn_dist.data.loading.rare import RareClasses
from cirn_dist.data.loading.stream import Stream
from cirn_dist.data.loading.transforms import SegmentationTransform
from cirn_dist.data.shards.class_counts import class_counts
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.backends import build_player
from cirn_dist.engine.players import Player
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch
from cirn_dist.inference.network import load_given, segmenter_of, trained
from cirn_dist.models.deeplab import Segmenter, SegOutput
from cirn_dist.rundir.parents import IMPORTED
from cirn_dist.schedule import lr_factor, poly, ramped, warmup
from cirn_dist.seeds import derive
from cirn_dist.stages.images import relabelling


def build_segmenter(run: Run, *, with_acm: bool, pretrained: bool = False) -> Segmenter:
    """Build the segmenter of this run, its random weights a function of the run's seed.

    Args:
        with_acm: C and ACM (stages 2 and 3), or plain DeepLab-v2.
        pretrained: whether to load the backbone's configured weights.
    """
    return segmenter_of(run.config, world=run.runtime.world, with_acm=with_acm, pretrained=pretrained)


def load_segmenter(run: Run, stage: str, component: str = "segmenter") -> Segmenter:
    """Build the segmenter a finished stage has trained, or its teacher, on the device, for inference."""
    checkpoint, runtime = run.finished(stage), run.runtime
    return trained(checkpoint.read(component), run.config, runtime.device, where=checkpoint.path, world=runtime.world)


def finished_segmenter(run: Run, stage: str) -> tuple[Segmenter, dict[str, str]]:
    """Return the segmenter a finished stage has trained, for inference, and that stage's checkpoint as a parent."""
    return load_segmenter(run, stage), {stage: str(run.finished(stage).path.relative_to(run.folder))}


def initial_segmenter(
    run: Run, init: str, *, with_acm: bool, acm_start: str = "random"
) -> tuple[Segmenter, dict[str, str]]:
    """Build the segmenter a stage starts from; returns it with its parent checkpoints.

    From `source` or `cir`, backbone and C are taken. ACM's classifier keeps its random start, so that C and ACM differ
    from the first step; a run too short for that may give it C's weights, which the weight discrepancy then parts.

    Args:
        init: `pretrained`, or the finished stage it goes on from; `cir` is the source where there is no CIR.
        acm_start: `random`, or `classifier` for a copy of C.
    """
    imported = run.config.model.segmenter
    if init == "pretrained":
        segmenter = build_segmenter(run, with_acm=with_acm, pretrained=imported is None)
        if imported is not None:
            load_given(segmenter, run.config, run.labels)
        return segmenter, {IMPORTED: imported} if imported is not None else {}
    if init == "cir" and not run.config.with_cir:
        init = "source"
    segmenter = build_segmenter(run, with_acm=with_acm)
    parent = run.finished(init)
    plain = init in ("source", "cir")
    load_component(segmenter, parent, "segmenter", only=("backbone.", "classifier.") if plain else ())
    if plain and segmenter.acm is not None and acm_start == "classifier":
        for head in segmenter.acm.classifiers:
            head.load_state_dict(segmenter.classifier.state_dict())
    return segmenter, {init: str(parent.path.relative_to(run.folder))}


def add_auxiliary(run: Run, segmenter: Segmenter, goes_on: str | None = None) -> None:
    """Give a segmenter an auxiliary classifier, its random weights a function of the run's seed.

    Args:
        goes_on: the finished stage whose own it is to have.

    Raises:
        ConfigError: the backbone has no layer for it.
    """
    torch.manual_seed(derive(run.config.seed, "auxiliary"))
    segmenter.add_auxiliary(run.config.model.dilations)
    if goes_on is not None:
        load_component(segmenter, run.finished(goes_on), "segmenter", only=("auxiliary.",))


def predicted(player: Player, images: Batch) -> SegOutput:
    """Return the segmenter's output on one domain's images, at the size of their labels."""
    output: SegOutput = player("segmenter", images["image"], images.get("size"))
    return output


def segmenter_player(
    run: Run, segmenter: Segmenter, settings: SegmenterTraining, untrained: Mapping[str, nn.Module] | None = None
) -> Player:
    """Give the segmenter its optimizer: heads at `head_lr_mult`, poly decay after a warm-up.

    Args:
        untrained: component -> network that is kept in its checkpoints though no gradient trains it.
    """
    segmenter.train()
    groups = segmenter.parameter_groups(
        settings.lr,
        head_lr_mult=settings.head_lr_mult,
        backbone_lr_mult=settings.backbone_lr_mult,
        norm_weight_decay=settings.norm_weight_decay,
    )

    def optimizer() -> torch.optim.Optimizer:
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        return torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)

    return build_player(
        "segmenter",
        {"segmenter": segmenter} | dict(untrained or {}),
        optimizer,
        poly_schedule(run, settings.optimizer, settings),
        run.runtime,
        clip_norm=settings.clip_norm,
    )


def poly_schedule(run: Run, optimizer: Optimizer, settings: SegmenterTraining) -> Callable[[int], float]:
    """Return iteration -> factor: warm-up, poly decay, and the scaling with the global batch."""
    scale = scaling(run.config, optimizer, settings.iterations)

    def factor(iteration: int) -> float:
        # The update at the end of the step that begins at `iteration`; a rate of exactly 0 would waste the first.
        ramp = warmup(iteration + run.config.engine.images_per_step, settings.warmup)
        return scale(iteration) * ramp * poly(iteration, settings.horizon, settings.power)

    return factor


def scaling(config: Config, optimizer: Optimizer, iterations: int) -> Callable[[int], float]:
    """Return iteration -> what a batch-1 rate is multiplied by with this configuration's global batch."""
    engine = config.engine
    factor = lr_factor(engine.lr_scaling, optimizer, engine.images_per_step)
    return lambda iteration: ramped(factor, iteration + engine.images_per_step, engine.lr_warmup * iterations)


def stream(
    run: Run,
    shards: ShardSet,
    augment: Augment,
    domain: str,
    *,
    width: int | None = None,
    outside: bool = False,
    rare: RareClassSampling | None = None,
) -> Stream:
    """Return a domain's endless stream; its order and augmentation depend on the run's seed and the domain alone.

    Args:
        width: the images are scaled to it first; None keeps them as they are packed.
        outside: unlabelled images get a label that is 255 where a crop goes over their border.
        rare: how labelled images are drawn by their classes, if they are.

    Raises:
        DataError: the classes of the set's samples were not counted.
        ConfigError: an image with enough pixels of a class there is none.
    """
    table = relabelling(run, shards, domain)
    relabel = None if table is None else table.tobytes()
    data, seed = run.config.data, run.config.seed
    by_class, enough = None, 0
    if rare is not None and rare.temperature is not None:
        counts, least = in_classes(class_counts(shards), table, run.labels.num_classes), rare.min_pixels
        by_class = RareClasses(
            counts, run.labels.classes, temperature=rare.temperature, min_pixels=least, seed=seed, name=domain
        )
        enough = int(least * rare.min_crop_ratio)
    transform = SegmentationTransform(
        **augment.model_dump(), width=width, relabel=relabel, outside=outside, enough=enough
    )
    return Stream(shards, transform, seed=seed, name=domain, window=data.window, max_bad=data.max_bad, rare=by_class)
