"""The paper's stages at its sizes and networks, on generated images, one stage at a time in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from steps import STEPS
from suite import REHEARSAL

from cirn_dist.chain import stage_titles
from cirn_dist.config.load import load
from cirn_dist.config.schema import Config
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.display.progress import Progress
from cirn_dist.engine.join import join
from cirn_dist.engine.loop import fit
from cirn_dist.engine.run import Run
from cirn_dist.engine.stop import StopRequest
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.segmenter import finished_segmenter
from cirn_dist.stages.self_train.train import self_training
from cirn_dist.stages.source import supervised
from cirn_dist.stages.translate.train import translation

STAGES = ("source", "translate", "adapt", "self_train")
IMAGES = 8
TOY = (
    "data.source.size=[96,64]", "data.target.size=[80,64]", "model.backbone=tiny", "translate.load_width=80",
    "translate.augment.crop=[32,32]", "translate.ngf=4", "translate.blocks=1", "data.workers=0",
)  # fmt: skip


def configuration(*overrides: str, iterations: int = STEPS) -> Config:
    """Return the paper's GTAV to Cityscapes, short, with random weights; toy sizes in a rehearsal."""
    short = [f"{stage}.iterations={iterations}" for stage in STAGES]
    common = ["model.weights=null", "adapt.init=pretrained", "self_train.init=pretrained", "adapt.warmup=0",
              "data.workers=4", "engine.log_every=1000", "engine.checkpoint_every=100000000"]  # fmt: skip
    return load("gta5_cityscapes", [*short, *common, *(TOY if REHEARSAL else ()), *overrides])


def sets(folder: Path, config: Config) -> dict[str, ShardSet]:
    """Pack generated images of both domains, labelled in all 19 classes."""
    packed = {}
    for number, domain in enumerate(("source", "target")):
        size = getattr(config.data, domain).size
        for kind in ("images", "labels"):
            (folder / "raw" / domain / "train" / kind).mkdir(parents=True)
        for index in range(IMAGES):
            image, label = _scene(size, seed=100 * number + index)
            image.save(folder / "raw" / domain / "train/images" / f"{index}.jpg", quality=95)
            label.save(folder / "raw" / domain / "train/labels" / f"{index}.png")
        options = {"label_space": "cityscapes19"}
        packed[domain] = pack("folder", folder / "raw" / domain, folder / domain, size=size, options=options)
    return packed


def _scene(size: tuple[int, int], seed: int) -> tuple[Image.Image, Image.Image]:
    """Draw smooth colours with some grain, and 19 patches of classes."""
    draw = np.random.default_rng(seed)
    smooth = Image.fromarray(draw.integers(0, 256, (9, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grainy = np.asarray(smooth).astype(np.int16) + draw.integers(-6, 7, (size[1], size[0], 3))
    classes = Image.fromarray(draw.integers(0, 19, (6, 10), dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)
    return Image.fromarray(grainy.clip(0, 255).astype(np.uint8)), classes


def new_run(config: Config, folder: Path) -> Run:
    """Return a run that shows nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = config.engine
    runtime = join(engine.precision, backend=engine.backend, deterministic=engine.deterministic, tf32=engine.tf32)
    return Run(config, folder, runtime, Progress(stage_titles(config), quiet=True), StopRequest(folder / "STOP"))


def trainer(stage: str, run: Run, images: Mapping[str, ShardSet]) -> Callable[[], None]:
    """Return what trains a stage of the run; stage 1's frozen net of eq. 4 is trained for a step first."""
    source, target = images["source"], images["target"]
    if stage == "source":
        return lambda: fit(supervised(run, "source", source, run.config.source), run)
    if stage == "translate":
        once = run.config.source.model_copy(update={"iterations": 1})
        fit(supervised(run, "source", source, once), run)
        run.runtime.release()
        return lambda: fit(translation(run, source, target, *finished_segmenter(run, "source")), run)
    if stage == "adapt":
        return lambda: fit(adaptation(run, "adapt", source, target, run.config.adapt), run)
    return lambda: fit(self_training(run, source, target), run)
