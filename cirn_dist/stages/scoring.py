"""What the report says of a trained stage: its scores, the AdaBN baseline's, and example predictions."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from cirn_dist.data.index import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.report.heat import save_map
from cirn_dist.report.results import Best, Scores, replace_text
from cirn_dist.stages.evaluate import adabn, evaluate, label_map, predict
from cirn_dist.stages.images import label_of, read_images, relabelling, spread_over, to_image
from cirn_dist.stages.parts import load_segmenter
from cirn_dist.stages.validation import best_score


class StageScores(BaseModel):
    """A trained stage's scores; `checkpoint` is the fingerprint of what was scored."""

    checkpoint: str
    iterations: int
    plain: Scores
    adabn: Scores | None = None
    best: Best | None = None


def score_stage(run: Run, stage: str, target: ShardSet, labelled: ShardSet | None) -> StageScores:
    """Score a finished stage, or return what an earlier start of the run has scored.

    Args:
        target: unlabelled target images, for AdaBN.
        labelled: target images with labels; without them all scores are None.
    """
    path = run.stage_folder(stage) / "scores.json"
    trained = run.finished(stage)
    known = run.runtime.on_main(lambda: StageScores.model_validate_json(path.read_bytes()) if path.is_file() else None)
    if known is not None and known.checkpoint == trained.fingerprint:
        return known
    segmenter = load_segmenter(run, stage)
    plain, renormalised = Scores(), None
    write_panels(run, stage, segmenter, labelled or target)
    if labelled is not None:
        where = f"scoring {stage}"
        plain = evaluate(run, segmenter, labelled, where)
        if run.config.evaluate.adabn:
            renormalised = evaluate(run, adabn(run, segmenter, target), labelled, where)
    found = StageScores(
        checkpoint=trained.fingerprint,
        iterations=int(trained.state["iteration"]),
        plain=plain,
        adabn=renormalised,
        best=best_score(run, stage),
    )
    run.runtime.on_main(lambda: replace_text(path, found.model_dump_json(indent=1)))
    return found


def write_panels(run: Run, stage: str, segmenter: Segmenter, images: ShardSet) -> None:
    """Write a stage's predictions of some target images, spread over the set, as train-id PNGs beside the images."""
    if not run.runtime.main:
        return
    for chosen in read_images(images, spread_over(len(images), run.config.evaluate.panels), 1, run.runtime.device):
        index, sample = chosen.indices[0], chosen.samples[0]
        folder = run.folder / "panels" / f"{index:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        to_image(chosen.pixels[0]).save(folder / "target.png")
        height, width = chosen.pixels.shape[-2:]
        if images.has_labels:
            label = Image.fromarray(label_of(sample, relabelling(run, images, "target")))
            label.resize((width, height), Image.Resampling.NEAREST).save(folder / "label.png")
        predicted = label_map(predict(run, segmenter.eval(), chosen.pixels)[0], (height, width))
        Image.fromarray(predicted).save(folder / f"{stage}.png")
        write_gates(run, stage, segmenter, chosen.pixels, folder / "gates")


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
