"""One step of each stage on one image: what the stage itself describes, without data, parents or a launcher.

The networks, the losses and the passes are the stages' own, and so are the sizes: a blank set goes through the stage's
own stream, at its largest scale.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from cirn_dist.chain import stages
from cirn_dist.choices import Precision
from cirn_dist.config.groups.training import Augment, SegmenterTraining
from cirn_dist.config.schema import Config
from cirn_dist.config.section import Size
from cirn_dist.data.decode import CODECS, encode_image, encode_label
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.loading.stream import Plan, loader
from cirn_dist.data.run_sets.label_space import settled
from cirn_dist.data.shards.shardset import LABEL, SOFT, ShardSet
from cirn_dist.data.shards.writer import finish, write_shard
from cirn_dist.display.progress import Progress
from cirn_dist.engine.loop import Training
from cirn_dist.engine.players import Player
from cirn_dist.engine.run import Run
from cirn_dist.engine.runtime import Runtime
from cirn_dist.engine.step import Batch, accumulate
from cirn_dist.engine.stop import StopRequest
from cirn_dist.engine.upload import prepared
from cirn_dist.inference.network import for_inference
from cirn_dist.measure.memory import with_content
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.evaluate.miou import run_logits
from cirn_dist.stages.segmenter import build_segmenter
from cirn_dist.stages.self_train.intra_domain import intra_domain
from cirn_dist.stages.self_train.online import online_self_training
from cirn_dist.stages.self_train.train import self_training
from cirn_dist.stages.source import supervised
from cirn_dist.stages.translate.methods import Rendering
from cirn_dist.stages.translate.players import GENERATORS, build_generator
from cirn_dist.stages.translate.train import translation

LOSSES = "losses, there and back"  # what a step does outside its networks
_NEVER = 10**9  # iterations: nothing is logged or drawn of a rehearsal


@dataclass(frozen=True)
class Work:
    """A stage's work on one micro-batch or batch, with everything it holds.

    Attributes:
        step: does it once; a training's updates its networks, and calls `mark` with what it begins to do.
        networks: all of them, frozen ones too.
        images: width and height of the largest images.
        count: images of each domain in a step.
        batch: what a training's step is done on, as it is read.
        read: reads and augments another, in this process.
    """

    step: Callable[..., None]
    networks: Sequence[nn.Module]
    images: Size
    players: Sequence[Player] = ()
    count: int = 1
    batch: Batch = field(default_factory=dict)
    read: Callable[[], object] = dict


@contextlib.contextmanager
def rehearsals(
    config: Config, precision: Precision, device: str = "cpu", *, drawn: bool = False
) -> Iterator[dict[str, Callable[[], Work]]]:
    """Yield how to begin the work of each stage that trains or renders, and of scoring, in the pipeline's order.

    Controls and later rounds are left out: they are other stages' steps again. The blank images lie in a temporary
    folder while the context is open.

    Args:
        precision: of the computation; on a CPU bf16 stands for fp16, which has as many bytes.
        drawn: the images and labels have content, drawn from a fixed seed: what is to be timed.
    """
    config = _without_parents(settled(config))
    precision = "bf16" if precision == "fp16" and device == "cpu" else precision
    backend = "ddp" if config.engine.backend == "deepspeed" else config.engine.backend  # it needs a process group
    engine = config.engine
    runtime = Runtime(
        torch.device(device),
        precision,
        backend=backend,
        deterministic=engine.deterministic,
        compile_mode=engine.compile if drawn else None,  # what has no content is counted, not run
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = Run(config, folder / "run", runtime, Progress([], quiet=True), StopRequest(folder / "STOP"))
        source, target, pseudo = (
            _one_image(folder / name, getattr(config.data, domain).size, space, drawn=drawn, soft=soft)
            for name, domain, space, soft in (
                ("source", "source", run.labels, False),
                ("target", "target", None, False),
                ("pseudo", "target", run.labels, config.pseudo_label.label_entropy is not None),
            )
        )
        known: dict[str, Callable[[], Work]] = {
            "source": lambda: _training(run, supervised(run, "source", source, config.source), drawn=drawn),
            "translate": lambda: _translating(run, source, target, drawn=drawn),
            "render": lambda: _rendering(run),
            "cir": lambda: _training(run, supervised(run, "cir", source, config.cir), drawn=drawn),
            "adapt": lambda: _training(run, adaptation(run, "adapt", source, target, config.adapt), drawn=drawn),
            "self_train": lambda: _training(
                run,
                _third_stage(run, source, target, pseudo),
                drawn=drawn,
            ),
        }
        walked = [stage.name for stage in stages(config) if stage.name in known]
        if config.translate.method != "cyclegan":  # no network renders
            walked = [name for name in walked if name != "render"]
        if config.cir == config.source:
            walked = [name for name in walked if name != "cir"]
        yield {name: known[name] for name in walked} | {"evaluate": lambda: _scoring(run)}


def _third_stage(run: Run, source: ShardSet, target: ShardSet, pseudo: ShardSet) -> Training:
    if run.config.is_online:
        return online_self_training(run, source, target)
    if run.config.pseudo_label.easy_share is not None:
        return intra_domain(run, pseudo, target)
    return self_training(run, source, pseudo)


def _without_parents(config: Config) -> Config:
    """Return a configuration whose stages start from nothing, on images at their largest, and show nothing.

    Weights of a file or of an earlier stage take the room that random ones do.
    """

    def at_largest(augment: Augment) -> Augment:
        return augment.model_copy(update={"scales": (max(augment.scales),)})

    def alone(settings: SegmenterTraining) -> SegmenterTraining:
        return settings.model_copy(update={"init": "pretrained", "augment": at_largest(settings.augment)})

    trainings = {name: alone(getattr(config, name)) for name in ("source", "cir", "adapt", "self_train")}
    shown = {"panel_every": 0, "colour_match": False, "augment": at_largest(config.translate.augment)}
    same_classes = {
        domain: getattr(config.data, domain).model_copy(update={"map_labels": {}}) for domain in ("source", "target")
    }
    return config.model_copy(
        update=trainings
        | {
            "translate": config.translate.model_copy(update=shown),
            "model": config.model.model_copy(update={"weights": None, "segmenter": None}),
            "engine": config.engine.model_copy(update={"log_every": _NEVER}),
            "data": config.data.model_copy(update=same_classes),
        }
    )


def _one_image(folder: Path, size: Size, space: LabelSpace | None, *, drawn: bool, soft: bool = False) -> ShardSet:
    """Write a set of one image, black or of drawn colours; of the first class or of drawn ones, where there are any.

    Args:
        soft: its labels are soft ones too, no share of any class.
    """
    rng, classes, (width, height) = np.random.default_rng(0), len(space.classes) if space else 1, size
    coarse = (max(1, height // 8), max(1, width // 8))
    colours, labels = rng.integers(0, 256, (*coarse, 3), np.uint8), rng.integers(0, classes, coarse, np.uint8)
    image = Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC) if drawn else Image.new("RGB", size)
    sample = {CODECS["png"]: encode_image(image, "png")}
    if space is not None:
        label = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
        sample[LABEL] = encode_label(np.asarray(label) if drawn else np.zeros((height, width), np.uint8))
        if soft:
            sample[SOFT] = encode_label(np.zeros((classes * height, width), np.uint8))
    write_shard(folder, "one", [("one", sample)])
    return finish(folder, ["one"], name="one", label_space=space, made={"by": "rehearsal"})


def _training(run: Run, training: Training, *others: nn.Module, drawn: bool) -> Work:
    """Return a training's step; of several micro-batches two, the second of which meets the first one's gradients."""
    engine, runtime = run.config.engine, run.runtime
    plan = Plan(engine.images_per_step, 1, 0, engine.micro_batch)

    def read() -> Batch:
        with contextlib.closing(loader(training.streams, plan, first_step=0, last_step=1)) as batches:
            return next(batches)

    with with_content():
        found = read()
    placed = partial(_placed, device=runtime.device, drawn=drawn)
    batch = {domain: {name: placed(entry) for name, entry in entries.items()} for domain, entries in found.items()}
    micro_batches, last = min(plan.accumulation, 2), training.iterations - 1

    def step(mark: Callable[[str], None] = lambda _: None) -> None:
        def upload() -> Batch:
            mark("preparing the batch")
            ready = prepared(batch, runtime.dtype)
            mark(LOSSES)
            return ready

        accumulate(training.players, training.turns, training.passes, _Repeated(upload, micro_batches), last, runtime)
        for player in training.players.values():
            mark("gradient norms")
            player.gradient_norm()
            mark("optimizers")
            player.update(finite=True)

    players = list(training.players.values())
    networks = [network for player in players for network in player.networks.values()]
    height, width = max(entries["image"].shape[-2:] for entries in found.values())
    count = micro_batches * engine.micro_batch
    return Work(step, [*networks, *others], (width, height), players, count, batch, read)


@dataclass(frozen=True)
class _Repeated:
    """The same micro-batch several times."""

    make: Callable[[], Batch]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        return (self.make() for _ in range(self.count))


def _translating(run: Run, source: ShardSet, target: ShardSet, *, drawn: bool) -> Work:
    pretrained = for_inference(build_segmenter(run, with_acm=False), run.runtime.device)
    return _training(run, translation(run, source, target, pretrained, parents={}), pretrained, drawn=drawn)


def _rendering(run: Run) -> Work:
    """Return what renders a batch of source images; without inference mode, which hides what operations make inside."""
    (width, height), tile = run.config.data.source.size, run.config.render.tile
    rendering = Rendering(run, build_generator(run.config.translate, run.config.seed, GENERATORS[0]), colours=None)
    pixels = _pixels(run, run.config.render.batch)

    def step() -> None:
        with torch.no_grad():
            rendering(pixels(width, height), range(run.config.render.batch))

    size = (width, height) if tile is None else (min(width, tile), min(height, tile))
    return Work(step, [rendering.generator], size)


def _scoring(run: Run) -> Work:
    """Return what predicts a batch of target images."""
    width, height = run.config.data.target.size
    segmenter = for_inference(build_segmenter(run, with_acm=run.config.model.with_acm), run.runtime.device)
    pixels, largest = _pixels(run, run.config.evaluate.batch), max(run.config.evaluate.scales)

    def step() -> None:
        with torch.no_grad():
            run_logits(run, segmenter, pixels(width, height))

    return Work(step, [segmenter], (round(width * largest), round(height * largest)))


def _pixels(run: Run, count: int) -> Callable[[int, int], torch.Tensor]:
    """Return what makes blank images as stages read them to be rendered or scored."""
    return lambda width, height: torch.zeros(count, 3, height, width, device=run.runtime.device).contiguous(
        memory_format=torch.channels_last
    )


def _placed(entry: Any, device: torch.device, *, drawn: bool) -> Any:
    """Return what of a micro-batch goes to the device, blank unless drawn; its samples' counters stay as they are."""
    if not isinstance(entry, torch.Tensor) or entry.dim() < 2:
        return entry
    return entry.to(device) if drawn else torch.zeros(entry.shape, dtype=entry.dtype, device=device)
