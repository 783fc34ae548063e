"""Stage 3, first half: pseudo labels of the target images, from the model of stage 2 or of the round before.

Every image is predicted twice: once for the thresholds, once for its label. Keeping the first pass's predictions would
save a hundredth of stage 3 at the paper's sizes (2,975 forward passes beside 100,000 steps) for 4.7 GB of disk. Both
passes see the same batches on any number of ranks, so the labels do not depend on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cirn_dist.chain import before_self_training, stage_in_round
from cirn_dist.data.decode import encode_label
from cirn_dist.data.labels import UInt8Array
from cirn_dist.data.loading.images import batches, read_images
from cirn_dist.data.shards.samples import Entry, entry
from cirn_dist.data.shards.shardset import LABEL, SOFT, Sample, ShardSet
from cirn_dist.display.tables import pseudo_label_table
from cirn_dist.engine.run import Run
from cirn_dist.files import replace_text
from cirn_dist.inference.load import assert_same_classes, load
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.ensemble import Ensemble
from cirn_dist.stages.derived_set import Encode, derive_set, derived_set
from cirn_dist.stages.evaluate.miou import run_logits
from cirn_dist.stages.segmenter import load_segmenter
from cirn_dist.stages.self_train.confidence import BINS, Counts, confidence_histogram
from cirn_dist.stages.self_train.rules import (
    Thresholds,
    adapted_thresholds,
    select,
    soft_labels,
    thresholds,
    uncertainty,
)

UNCERTAIN = "uncertainty"  # in the summary: of every image, in the set's order


def pseudo_label(run: Run, target: ShardSet, number: int = 1) -> ShardSet:
    """Label the target images with confident predictions; the rest is ignored (255).

    Args:
        number: the round, counted from 1.

    Raises:
        ConfigError: a network of `pseudo_label.also` has other classes.
        CheckpointError: there is none.
    """
    settings, stage = run.config.pseudo_label, stage_in_round("pseudo_label", number)
    teacher = before_self_training(run.config) if number == 1 else stage_in_round("self_train", number - 1)
    made = {
        "by": stage,
        "segmenter": run.finished(teacher).fingerprint,
        "settings": settings.model_dump_json(exclude={"also"}, exclude_none=True),  # older sets lack what is null
    }
    others = [load(one, device=run.runtime.device) for one in settings.also]
    for one in others:
        assert_same_classes(one, run.labels)
    if others:
        made["also"] = " ".join(one.fingerprint for one in others)
    existing = derived_set(run, stage, target, made)
    summary = run.stage_folder(stage) / "summary.json"
    # Killed after the set and before its summary, a run predicts once more: the summary is of the confidences.
    if existing is not None and run.runtime.on_main(summary.is_file):
        return existing

    own = load_segmenter(run, teacher)
    segmenter = Ensemble([own, *(one.network for one in others)]).eval() if others else own
    run.work(0)
    run.progress.start(stage, len(target), unit="images, for the thresholds")
    counts, limits, uncertain = _confidence(run, segmenter, target, number)

    def samples(indices: range) -> Iterator[Encode]:
        for index, sample, image, probabilities in _predictions(run, segmenter, target, indices):
            soft = None
            if settings.label_entropy is None:
                label = select(probabilities, limits[index], settings.rule)
            else:
                label, shares = soft_labels(probabilities, limits[index], settings.label_entropy)
                soft = shares.cpu().numpy()
            yield partial(_encoded, target.key(index), sample, image, label.cpu().numpy(), soft)

    batch = run.config.evaluate.batch
    labelled = derive_set(run, stage, target, samples, batch=batch, label_space=run.labels, made=made)
    if run.runtime.main:
        _summarise(run, summary, counts, limits, labelled, uncertain)
    return labelled


def _encoded(key: str, sample: Sample, image: UInt8Array, label: UInt8Array, soft: UInt8Array | None) -> Entry:
    fields = {LABEL: encode_label(label)}
    if soft is not None:
        fields[SOFT] = encode_label(soft.reshape(-1, soft.shape[-1]))
    return entry(key, sample | fields, image=image, label=label)


def _confidence(
    run: Run, segmenter: Segmenter | Ensemble, target: ShardSet, number: int
) -> tuple[Counts, Thresholds, list[float]]:
    """Return the set's confidence histogram, (C, BINS), each image's thresholds, (N, C), and its `uncertainty`.

    The last is asked for by `easy_share` alone.
    """
    runtime, settings, classes = run.runtime, run.config.pseudo_label, run.labels.num_classes
    total = np.zeros((classes, BINS), np.int64)
    adapted = np.empty((len(target), classes))
    latest = np.full(classes, 0.9)
    rare = run.labels.ids(settings.easy_rare or (), "pseudo_label.easy_rare")
    own: dict[int, float] = {}
    groups = batches(target, run.config.evaluate.batch)
    for lap in range(0, len(groups), runtime.world):
        mine = [indices for i, indices in enumerate(groups[lap : lap + runtime.world]) if i == runtime.rank]
        found = []
        for indices in mine:
            for index, _, _, probabilities in _predictions(run, segmenter, target, indices):
                found.append((index, _histogram(probabilities)))
                if settings.easy_share is not None:
                    own[index] = uncertainty(probabilities, rare)
        total += sum(histogram for _, histogram in found)
        if settings.rule == "iast":  # thresholds pass from image to image in the set's order, whoever predicted it
            for index, histogram in (one for part in runtime.gather(found) for one in part):
                adapted[index] = latest = adapted_thresholds(latest, histogram, settings)
        run.progress.update(groups[min(lap + runtime.world, len(groups)) - 1].stop)
        run.pause_point(stage_in_round("pseudo_label", number))
    total = runtime.sum(torch.from_numpy(total)).cpu().numpy()
    if settings.rule != "iast":
        adapted = np.broadcast_to(thresholds(total, settings, number), adapted.shape)
    uncertain = {index: value for part in runtime.gather(own) for index, value in part.items()}
    return total, adapted, [uncertain[index] for index in sorted(uncertain)]


def _histogram(probabilities: Tensor) -> Counts:
    confidence, classes = probabilities.max(0)
    return confidence_histogram(classes.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy(), len(probabilities))


def _predictions(
    run: Run, segmenter: Segmenter | Ensemble, target: ShardSet, indices: range
) -> Iterator[tuple[int, Sample, UInt8Array, Tensor]]:
    """Yield (index, sample, image (H, W, 3), probabilities (C, H, W)) of each image, at the packed size."""
    for images in read_images(target, indices, run.config.evaluate.batch, run.runtime.device):
        probabilities = run_logits(run, segmenter, images.pixels).softmax(1)
        yield from zip(images.indices, images.samples, images.arrays, probabilities, strict=True)


def _summarise(
    run: Run, path: Path, counts: Counts, limits: Thresholds, labelled: ShardSet, uncertain: list[float]
) -> None:
    """Write and print each class's threshold, and its labelled pixels as a share of those predicted as it."""
    predicted, pixels = counts.sum(1), np.array(labelled.meta["class_pixels"])
    kept = pixels / np.maximum(1, predicted)
    summary = {
        "classes": list(run.labels.classes),
        "kept": np.minimum(1, kept).tolist(),  # CRST may label more pixels as a class than were predicted as it
        "thresholds": limits.mean(0).tolist(),
        "predicted": (predicted / max(1, predicted.sum())).tolist(),
        "labelled": (pixels / max(1, pixels.sum())).tolist(),
        "ignored": labelled.meta["ignored_pixels"] / max(1, int(predicted.sum())),
    } | ({UNCERTAIN: uncertain} if uncertain else {})
    replace_text(path, json.dumps(summary, indent=1))
    run.progress.print(pseudo_label_table(summary))
