"""Stage 3, first half: pseudo labels of the target images, from the model of stage 2.

BDL's rule: a pixel keeps its predicted class where the confidence is at least min(median of that class, 0.9). The
medians come from histograms, summed over ranks: 4096 bins per class instead of every pixel of the data set in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from cirn_dist.config import PseudoLabel
from cirn_dist.data.decode import encode_label
from cirn_dist.data.index import LABEL, Sample, ShardSet
from cirn_dist.data.labels import IGNORE
from cirn_dist.engine.run import Run
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.report.results import replace_text
from cirn_dist.stages.derived import derive_set
from cirn_dist.stages.evaluate import predict
from cirn_dist.stages.images import read_images
from cirn_dist.stages.parts import load_segmenter

BINS = 4096
Maps = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]


def pseudo_label(run: Run, target: ShardSet) -> ShardSet:
    """Label the target images with confident predictions; the rest is ignored (255)."""
    settings = run.config.pseudo_label
    trained = run.finished("adapt")
    segmenter = load_segmenter(run, "adapt")

    counts = np.zeros((run.labels.num_classes, BINS), np.int64)
    run.progress.start("pseudo_label", len(target), unit="images, for the thresholds")
    mine = range(run.runtime.rank, len(target), run.runtime.world)
    for _, _, (classes, confidence) in _predictions(run, segmenter, target, mine):
        counts += confidence_histogram(classes, confidence, run.labels.num_classes)
    counts = run.runtime.sum(torch.from_numpy(counts)).cpu().numpy()
    limits = thresholds(counts, settings)

    def samples(indices: range) -> Iterator[tuple[str, Sample]]:
        for index, sample, (classes, confidence) in _predictions(run, segmenter, target, indices):
            label = np.where(confidence >= limits[classes], classes, IGNORE).astype(np.uint8)
            yield target.key(index), sample | {LABEL: encode_label(label)}

    if run.runtime.main:
        _write_summary(run, counts, limits)
    made = {"by": "pseudo_label", "segmenter": trained.fingerprint, "settings": settings.model_dump_json()}
    return derive_set(run, "pseudo_label", target, samples, label_space=run.labels, made=made)


def confidence_histogram(
    classes: npt.NDArray[np.uint8], confidence: npt.NDArray[np.float32], num_classes: int
) -> npt.NDArray[np.int64]:
    """Count pixels by predicted class and confidence bin, (C, BINS)."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    flat = classes.astype(np.int64) * BINS + bins
    return np.bincount(flat.ravel(), minlength=num_classes * BINS).reshape(num_classes, BINS)


def thresholds(counts: npt.NDArray[np.int64], settings: PseudoLabel) -> npt.NDArray[np.float32]:
    """Return each class's least confidence, (C,): the lower edge of the bin where the kept portion begins, capped.

    A class nobody predicted has threshold 0, as in BDL; no pixel meets it.
    """
    above = counts[:, ::-1].cumsum(1)[:, ::-1]  # pixels in this bin or a higher one
    wanted = settings.portion * counts.sum(1, keepdims=True)
    # The highest bin from which at least the wanted portion lies above; bin 0 always qualifies.
    first = BINS - 1 - np.argmax((above >= wanted)[:, ::-1], axis=1)
    first[counts.sum(1) == 0] = 0
    limits: npt.NDArray[np.float32] = np.minimum(first / BINS, settings.cap).astype(np.float32)
    return limits


def _predictions(
    run: Run, segmenter: Segmenter, target: ShardSet, indices: range
) -> Iterator[tuple[int, Sample, Maps]]:
    """Yield (index, sample, (class (H, W), its probability (H, W))) of each image, at the packed size."""
    for images in read_images(target, indices, run.config.evaluate.batch, run.runtime.device):
        probabilities = predict(run, segmenter, images.pixels).softmax(1)
        confidence, classes = probabilities.max(1)
        for i, index in enumerate(images.indices):
            maps = classes[i].to(torch.uint8).cpu().numpy(), confidence[i].cpu().numpy()
            yield index, images.samples[i], maps


def _write_summary(run: Run, counts: npt.NDArray[np.int64], limits: npt.NDArray[np.float32]) -> None:
    """Write the thresholds, and the share of each class's predicted pixels that they keep (to within a bin)."""
    first_kept = np.ceil(limits * BINS).astype(int)
    kept = [int(row[start:].sum()) / max(1, int(row.sum())) for row, start in zip(counts, first_kept, strict=True)]
    share = (counts.sum(1) / counts.sum()).tolist()
    summary = {
        "classes": list(run.labels.classes),
        "kept": kept,
        "thresholds": limits.tolist(),
        "predicted": share,
    }
    folder = run.stage_folder("pseudo_label")
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / "summary.json", json.dumps(summary, indent=1))
