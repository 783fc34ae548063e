"""Scoring a stage on the target's labelled images: per-class and mean intersection over union."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cirn_dist.data.labels import IGNORE
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.norm import reestimate_statistics
from cirn_dist.models.resizing import resize
from cirn_dist.rundir.results import Scores
from cirn_dist.seeds import permutation
from cirn_dist.stages.images import batches, each_ranks_groups, label_of, read_images, relabelling

Confusion = npt.NDArray[np.int64]


def evaluate(run: Run, segmenter: Segmenter, labelled: ShardSet, pause: str | None = None) -> Scores:
    """Score a segmenter on every labelled image, once, at the label's own size (the lineage's protocol).

    Args:
        pause: what is being scored, where the run may be stopped while it is.
    """
    return scores(count(run, segmenter, labelled, pause), run.labels.subsets)


def count(run: Run, segmenter: Segmenter, labelled: ShardSet, pause: str | None = None) -> Confusion:
    """Return the confusion matrix of a whole set, (C, C), on every rank; no image is repeated to even ranks out.

    Each rank takes every R-th batch, and counts are integers: they are the same on any number of ranks.
    """
    runtime = run.runtime
    classes = run.labels.num_classes
    total = np.zeros((classes, classes), np.int64)
    table = relabelling(run, labelled, "target")
    segmenter.eval()
    size = run.config.evaluate.batch
    for indices in each_ranks_groups(run, batches(labelled, size), pause):
        for images in read_images(labelled, indices, size, runtime.device):
            logits = predict(run, segmenter, images.pixels)
            for at, one in enumerate(logits):
                label = label_of(images, at, table)
                total += confusion(label_map(one, label.shape), label, classes)
    counts: Confusion = runtime.sum(torch.from_numpy(total)).cpu().numpy()
    return counts


@torch.inference_mode()
def predict(run: Run, segmenter: Segmenter, pixels: Tensor) -> Tensor:
    """Return the summed logits of both heads, (N, C, H, W) at the input's size; averaged over `evaluate.scales`
    and, with `evaluate.flip`, with the mirrored image's.
    """
    settings = run.config.evaluate
    height, width = pixels.shape[-2:]
    found: list[Tensor] = []
    with run.runtime.autocast():
        for scale in settings.scales:
            size = max(1, round(height * scale)), max(1, round(width * scale))
            scaled = pixels if scale == 1 else resize(pixels, size)
            found.append(segmenter(scaled, (height, width)).logits)
            if settings.flip:
                found.append(segmenter(scaled.flip(-1), (height, width)).logits.flip(-1))
    return torch.stack(found).float().mean(0)


def label_map(logits: Tensor, size: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the most probable class of each pixel, (H, W), from logits (C, h, w) upsampled to (H, W)."""
    resized = resize(logits[None], size[:2])[0]
    return resized.argmax(0).to(torch.uint8).cpu().numpy()


def confusion(predicted: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8], classes: int) -> Confusion:
    """Count pixels by (true class, predicted class), (C, C); pixels labelled 255 do not count."""
    counted = label != IGNORE
    pairs = label[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def scores(counts: Confusion, subsets: Mapping[str, Sequence[int]] | None = None) -> Scores:
    """Return IoU = TP / (TP + FP + FN) per class, and its mean; a class that is neither there nor predicted
    has none and does not count in the mean.

    Args:
        subsets: named classes to average over as well. Pixels of the other classes still count as errors (BDL's
            protocol for SYNTHIA); a run whose own label space lacks those classes ignores them (MaxSquare's).
    """
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    iou = tuple(float(hit / every) if every else None for hit, every in zip(hits, union, strict=True))
    of_subsets = {name: _mean([iou[c] for c in classes]) for name, classes in (subsets or {}).items()}
    return Scores(miou=_mean(iou), iou=iou, subsets=of_subsets)


def _mean(iou: Sequence[float | None]) -> float | None:
    present = [value for value in iou if value is not None]
    return sum(present) / len(present) if present else None


def adabn(run: Run, segmenter: Segmenter, target: ShardSet) -> Segmenter:
    """Return the segmenter with the BatchNorm statistics of unlabelled target images (Li et al. 2016, AdaBN).

    The baseline every adaptation method must beat: it trains nothing.
    """
    runtime, settings = run.runtime, run.config.evaluate
    chosen = permutation(len(target), run.config.seed, "adabn")[: settings.adabn_images].tolist()
    groups = [chosen[start : start + settings.batch] for start in range(0, len(chosen), settings.batch)]

    def pixels() -> Iterator[Tensor]:
        # Whole groups are dealt to ranks, so that the same images share a batch on any number of them.
        for group in each_ranks_groups(run, groups, "scoring with AdaBN"):
            for images in read_images(target, group, settings.batch, runtime.device):
                yield images.pixels

    with torch.inference_mode():
        return reestimate_statistics(segmenter, pixels())
