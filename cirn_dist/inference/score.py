"""Scoring a trained network on any labelled set: packed, or raw with a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel
from torch import Tensor

from cirn_dist.data.labels import translation
from cirn_dist.data.loading.images import batches
from cirn_dist.data.pack.pack import Progress, pack
from cirn_dist.data.pack.recipes import load_recipe
from cirn_dist.data.run_sets.label_space import setting
from cirn_dist.data.shards.shardset import ShardSet, packed_at
from cirn_dist.data.workers.pool import processors
from cirn_dist.errors import ConfigError, DataError
from cirn_dist.inference.adabn import adabn as renormalised
from cirn_dist.inference.adabn import adabn_groups
from cirn_dist.inference.iou import count, pixel_accuracy, scores
from cirn_dist.inference.load import TrainedSegmenter
from cirn_dist.inference.logits import predict
from cirn_dist.rundir.results import Scores


class Ranks(Protocol):
    """The processes that score a set together, seen from one of them (`engine.runtime.Runtime` is one)."""

    rank: int
    world: int

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over ranks."""


class Evaluation(BaseModel):
    """Scores of a network on a labelled set.

    Attributes:
        checkpoint, stage: of the network.
        data: fingerprint of the set.
        images: how many were scored.
        scores: mean and per-class intersection over union.
        pixel_accuracy: share of labelled pixels that are right.
        confusion: pixels by (true class, predicted class).
        adabn: whether BatchNorm had the statistics of the set's images.
        also: checkpoints whose probabilities were averaged with the network's.
    """

    checkpoint: str
    stage: str
    data: str
    images: int
    classes: tuple[str, ...]
    scores: Scores
    pixel_accuracy: float | None
    confusion: list[list[int]]
    adabn: bool
    also: tuple[str, ...] = ()


def labelled_at(
    net: TrainedSegmenter,
    data: Path,
    scratch: Path,
    *,
    recipe: str | None = None,
    split: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return where a packed set is; a raw folder is packed into `scratch` first, as the network's run packs images.

    Args:
        data: a packed set, a folder with one per split, or a raw folder.
        recipe: of a raw folder; that of the run's target by default.
        split: the run's scored one by default.

    Raises:
        DataError: nothing that can be packed is there.
        ConfigError: the recipe cannot be used.
    """
    target = net.config.data.target
    split = split or target.score_split or target.split
    packed = packed_at(data, split)
    if packed is not None:
        return packed
    how = load_recipe(recipe or target.recipe, options or {}, split)
    if how.label_space is None:
        how = how.model_copy(update={"label_space": setting(net.space)})
    codec, workers = net.config.data.codec, processors()
    return pack(
        how, data, scratch, split, size=net.size, codec=codec, labels=True, label_size="original",
        workers=workers, progress=progress,
    ).path  # fmt: skip


def open_labelled(packed: Path) -> ShardSet:
    """Open a packed set to score by.

    Raises:
        DataError: it is damaged, or has no labels.
    """
    found = ShardSet.open(packed)
    if not found.has_labels:
        raise DataError("holds no labels to score by", where=found.path, fix="pack it with its labels")
    return found


def score(
    net: TrainedSegmenter,
    labelled: ShardSet,
    *,
    adabn: bool = False,
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
    map_labels: Mapping[str, str] | None = None,
    ranks: Ranks | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a network on every image of a set, at the labels' own size: what its run would report of it.

    Several ranks count every R-th batch each, and sum integers: the scores are the same on any number of them.

    Args:
        adabn: with the BatchNorm statistics of the set's images (`evaluate.adabn_images` of them, drawn by the seed).
        scales, flip: what to average over; as the run does by default.
        map_labels: the set's class -> the network's, where they are called otherwise; {} where equal names are enough.

    Raises:
        ConfigError: the set's classes are others, and are not mapped.
    """
    settings = net.config.evaluate
    assert labelled.label_space is not None
    if map_labels is None and not labelled.label_space.is_same(net.space):
        theirs, ours = labelled.label_space.beside(net.space), net.space.beside(labelled.label_space)
        what = f"its labels are {theirs}'s, the network's {ours}'s"
        fix = (
            "translate them: --map CLASS=CLASS, the set's = the network's; classes of equal names follow by themselves"
        )
        raise ConfigError(what, where=labelled.path, fix=fix)
    table = translation(labelled.label_space, net.space, map_labels)
    first, step = (0, 1) if ranks is None else (ranks.rank, ranks.world)
    network = net.together
    if adabn:
        drawn = adabn_groups(labelled, settings, net.config.seed)[first::step]
        network = renormalised(network, labelled, drawn, batch=settings.batch, device=net.device)

    def logits(pixels: Tensor) -> Tensor:
        chosen, mirrored = net.scales if scales is None else scales, net.flip if flip is None else flip
        return predict(network, pixels, scales=chosen, flip=mirrored, autocast=net.autocast())

    def counted(groups: Sequence[Sequence[int]]) -> Iterator[Sequence[int]]:
        for done, group in enumerate(groups):
            if progress is not None:
                progress(min(done * step * settings.batch, len(labelled)), len(labelled))
            yield group

    counts = count(
        logits,
        labelled,
        counted(batches(labelled, settings.batch)[first::step]),
        classes=net.space.num_classes,
        batch=settings.batch,
        device=net.device,
        table=table,
    )
    if ranks is not None:
        counts = ranks.sum(torch.from_numpy(counts)).cpu().numpy()
    return Evaluation(
        checkpoint=str(net.checkpoint),
        stage=net.stage,
        data=labelled.fingerprint,
        images=len(labelled),
        classes=net.classes,
        scores=scores(counts, net.space.subsets),
        pixel_accuracy=pixel_accuracy(counts),
        confusion=counts.tolist(),
        adabn=adabn,
        also=tuple(map(str, net.also)),
    )
