"""What the report says of a trained stage: its scores, the AdaBN baseline's, and example predictions."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cirn_dist.data.loading.images import Images, label_of, read_images, spread_over, to_image
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.display.attention_maps import save_map
from cirn_dist.engine.run import Run
from cirn_dist.inference.iou import scores
from cirn_dist.inference.logits import label_map
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.rundir.results import Scores
from cirn_dist.rundir.scores import WORST, StageScores, lowest, read_scores, write_scores
from cirn_dist.stages.evaluate.miou import adabn, count, evaluate, run_logits
from cirn_dist.stages.evaluate.validation import best_score
from cirn_dist.stages.images import relabelling
from cirn_dist.stages.segmenter import load_segmenter


def score_stage(run: Run, stage: str, target: ShardSet, labelled: ShardSet | None) -> StageScores:
    """Score a finished stage, or return what an earlier start of the run has scored in the same way.

    Args:
        target: unlabelled target images, for AdaBN.
        labelled: target images with labels; without them all scores are None.
    """
    folder = run.stage_folder(stage)
    trained, made = run.finished(stage), _scored_with(run, target, labelled)
    known = run.runtime.on_main(lambda: read_scores(folder))
    # Of what was scored before this was recorded, only what a start insists on can be another.
    same = known is not None and (known.made == made or (known.made is None and not run.allow))
    if known is not None and same and known.checkpoint == trained.fingerprint:
        return known
    run.work(int(trained.state["iteration"]), makes=False)
    segmenter = load_segmenter(run, stage)
    plain, renormalised, confusion, teacher = Scores(), None, None, None
    accuracy: dict[int, float | None] = {}
    write_panels(run, stage, segmenter, labelled or target)
    if labelled is not None:
        where = f"scoring {stage}"
        counts = count(run, segmenter, labelled, where, accuracy)
        plain, confusion = scores(counts, run.labels.subsets), counts.tolist()
        write_worst(run, stage, segmenter, labelled, lowest(accuracy, run.config.evaluate.panels))
        if run.config.evaluate.adabn:
            renormalised = evaluate(run, adabn(run, segmenter, target), labelled, where)
        if "teacher" in trained.components:
            teacher = evaluate(run, load_segmenter(run, stage, "teacher"), labelled, where)
    found = StageScores(
        checkpoint=trained.fingerprint,
        made=made,
        iterations=int(trained.state["iteration"]),
        plain=plain,
        adabn=renormalised,
        teacher=teacher,
        best=best_score(run, stage),
        confusion=confusion,
        accuracy=accuracy,
    )
    run.runtime.on_main(lambda: write_scores(folder, found))
    return found


def _scored_with(run: Run, target: ShardSet, labelled: ShardSet | None) -> dict[str, Any]:
    """Return what a stage's scores depend on beside its checkpoint, as JSON content."""
    settings = run.config.evaluate.model_dump(mode="json", include={"flip", "scales", "adabn", "adabn_images"})
    names = run.config.data.target.map_labels
    sets = {"target": target.fingerprint, "scored": None if labelled is None else labelled.fingerprint}
    return settings | sets | {"map_labels": names}


def write_panels(run: Run, stage: str, segmenter: Segmenter, images: ShardSet) -> None:
    """Write a stage's predictions of some target images, spread over the set, as train-id PNGs beside the images."""
    if not run.runtime.main:
        return
    for chosen in read_images(images, spread_over(len(images), run.config.evaluate.panels), 1, run.runtime.device):
        folder = run.folder / "panels" / f"{chosen.indices[0]:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        _write_scored(run, segmenter, images, chosen, folder, stage)
        write_gates(run, stage, segmenter, chosen.pixels, folder / "gates")


def _write_scored(
    run: Run, segmenter: Segmenter, images: ShardSet, chosen: Images, folder: Path, prediction: str
) -> None:
    """Write an image, its label where there is one, and its prediction, all at the size the network sees."""
    to_image(chosen.pixels[0]).save(folder / "target.png")
    height, width = chosen.pixels.shape[-2:]
    if images.has_labels:
        label = Image.fromarray(label_of(chosen, 0, relabelling(run, images, "target")))
        label.resize((width, height), Image.Resampling.NEAREST).save(folder / "label.png")
    predicted = label_map(run_logits(run, segmenter.eval(), chosen.pixels)[0], (height, width))
    Image.fromarray(predicted).save(folder / f"{prediction}.png")


def write_worst(run: Run, stage: str, segmenter: Segmenter, images: ShardSet, places: Sequence[int]) -> None:
    """Write the images that a stage predicts worst, with label and prediction, in place of those of an earlier time."""
    if not run.runtime.main:
        return
    root = run.stage_folder(stage) / WORST
    if root.exists():
        shutil.rmtree(root)
    for chosen in read_images(images, places, 1, run.runtime.device):
        folder = root / f"{chosen.indices[0]:06d}"
        folder.mkdir(parents=True)
        _write_scored(run, segmenter, images, chosen, folder, "prediction")


@torch.inference_mode()
def write_gates(run: Run, stage: str, segmenter: Segmenter, pixels: Tensor, folder: Path) -> None:
    """Write ACM's attention maps on one image (1, 3, H, W) as `STAGE-K.png`, K counted from 1; none without gates."""
    if segmenter.acm is None:
        return
    with run.runtime.autocast():
        maps = segmenter.acm.gates(segmenter.features(pixels))[0]
    for k, values in enumerate(maps.float().cpu().numpy(), start=1):
        folder.mkdir(exist_ok=True)
        save_map(values, folder / f"{stage}-{k}.png")


def write_cir_panels(run: Run, source: ShardSet, cir: ShardSet) -> None:
    """Write some pairs of a source image and its translation."""
    if not run.runtime.main:
        return
    places = spread_over(len(source), run.config.evaluate.panels)
    device = torch.device("cpu")
    pairs = zip(read_images(source, places, 1, device), read_images(cir, places, 1, device), strict=True)
    for before, after in pairs:
        folder = run.folder / "panels" / f"cir-{before.indices[0]:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        to_image(before.pixels[0]).save(folder / "source.png")
        to_image(after.pixels[0]).save(folder / "cir.png")
