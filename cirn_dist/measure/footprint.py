"""What memory each stage of a configuration will need on one rank, before it starts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cirn_dist import losses
from cirn_dist.choices import Precision
from cirn_dist.config.schema import Augment, Config, SegmenterTraining
from cirn_dist.config.section import Size
from cirn_dist.data.run_sets.label_space import run_space
from cirn_dist.engine.arithmetic import choose_kernels
from cirn_dist.engine.runtime import frozen
from cirn_dist.engine.step import Batch
from cirn_dist.inference.network import segmenter_of
from cirn_dist.measure.findings import Footprint
from cirn_dist.measure.memory import counted_peak, measured_peak
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.discriminators import PixelDiscriminator
from cirn_dist.stages.translate.players import DISCRIMINATORS, GENERATORS, build_discriminator, build_generator
from cirn_dist.stages.translate.train import discriminator_loss, generator_losses, semantic_loss

ADAM = 2  # numbers an optimizer keeps of a parameter; SGD with momentum: 1


@dataclass
class Step:
    """A stage's step with everything it holds: `run` does it once, forward and backward of every pass."""

    run: Callable[[], None]
    trained: Sequence[nn.Module]
    others: Sequence[nn.Module]
    kept: int
    images: Size

    def __post_init__(self) -> None:
        self.state = [torch.zeros_like(p) for p in self.trainable() for _ in range(self.kept)]

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that get gradients."""
        return [p for module in self.trained for p in module.parameters() if p.requires_grad]

    def step(self) -> None:
        """Run, and drop the gradients as an update does."""
        self.run()
        for parameter in self.trainable():
            parameter.grad = None

    def footprint(self, stage: str, peak: int, *, measured: bool) -> Footprint:
        """Return what is known once its peak is."""
        modules = [*self.trained, *self.others]
        held = [t for m in modules for t in (*m.parameters(), *m.buffers())]
        parameters, gradients, optimizer = (
            sum(t.numel() * t.element_size() for t in tensors) for tensors in (held, self.trainable(), self.state)
        )
        images = f"{self.images[0]}x{self.images[1]}"
        return Footprint(stage, images, parameters, gradients, optimizer, peak, measured)


def footprints(
    config: Config, precision: Precision, device: str = "cpu", only: Sequence[str] | None = None
) -> list[Footprint]:
    """Estimate the stages of a configuration: on a GPU by running a step of each there, else by counting.

    Counting takes bf16 for fp16: both have two bytes.

    Args:
        only: these stages; all of them unless given.
    """
    measured, engine = device == "cuda", config.engine
    if measured:
        choose_kernels(deterministic=engine.deterministic or engine.backend == "exact", tf32=engine.tf32)
    found = []
    for stage, make in stage_steps(config, precision, device).items():
        if only is not None and stage not in only:
            continue
        made: list[Step] = []

        def build(make: Callable[[], Step] = make, made: list[Step] = made) -> Callable[[], None]:
            with torch.device(device):
                made.append(make())
            return made[0].step

        peak = (measured_peak if measured else counted_peak)(build)
        found.append(made[0].footprint(stage, peak, measured=measured))
    return found


def stage_steps(config: Config, precision: Precision, device: str = "cpu") -> dict[str, Callable[[], Step]]:
    """Return how to make a step of each stage that trains or renders, in the pipeline's order."""
    return _Steps(config, precision, device).of_stages()


class _Steps:
    """Makes the steps of a configuration's stages, on random images."""

    def __init__(self, config: Config, precision: Precision, device: str) -> None:
        self.config, self.device, self.batch = config, device, config.engine.micro_batch
        half = torch.float16 if precision == "fp16" and device == "cuda" else torch.bfloat16
        self.dtype = half if precision in ("fp16", "bf16") else None
        self.classes = run_space(config.data)

    def of_stages(self) -> dict[str, Callable[[], Step]]:
        """Return how to make each stage's step, in the pipeline's order."""
        config, source, target = self.config, self.config.data.source.size, self.config.data.target.size
        steps: dict[str, Callable[[], Step]] = {"source": lambda: self.supervised(config.source, source, acm=False)}
        if config.with_cir and config.translate.method == "cyclegan":
            steps |= {"translate": self.translation, "render": self.rendering}
        if config.with_cir and config.cir != config.source:
            steps["cir"] = lambda: self.supervised(config.cir, source, acm=False)
        steps["adapt"] = self.adaptation
        steps["self_train"] = lambda: self.supervised(config.self_train, target, acm=True)
        return steps | {"evaluate": self.evaluation}

    def supervised(self, settings: SegmenterTraining, size: Size, *, acm: bool) -> Step:
        """A segmenter on one labelled domain."""
        segmenter, kept = self.segmenter(acm=acm), _kept(settings)
        seen, labels = _seen(size, settings.augment), _labelled(size, settings.augment)

        def run() -> None:
            with self.autocast():
                output = segmenter(self.images(seen), labels[::-1])
                loss = losses.supervision(output, self.labels(labels), focal_gamma=settings.focal_gamma)
            loss.backward()  # type: ignore[no-untyped-call]

        return Step(run, [segmenter], [], kept, seen)

    def translation(self) -> Step:
        """CycleGAN with the frozen net of L_sem."""
        settings, seed = self.config.translate, self.config.seed
        networks: dict[str, nn.Module] = {n: build_generator(settings, seed, n) for n in GENERATORS}
        networks |= {n: build_discriminator(settings, seed, n) for n in DISCRIMINATORS}
        pretrained = self.segmenter(acm=False).eval().requires_grad_(False)
        discriminators = [networks[name] for name in DISCRIMINATORS]
        sizes = {
            domain: _seen(getattr(self.config.data, domain).size, settings.augment, settings.load_width)
            for domain in ("source", "target")
        }
        label_size = _labelled(self.config.data.source.size, settings.augment, settings.load_width)

        def call(component: str, images: Tensor) -> Tensor:
            made: Tensor = networks[component](images)
            return made

        def run() -> None:
            x_s, x_t = self.images(sizes["source"]), self.images(sizes["target"])
            source: Batch = {"image": x_s, "label": self.labels(label_size), "size": label_size[::-1]}
            with frozen(discriminators):
                with self.autocast():
                    made, terms = generator_losses(call, call, x_s, x_t, settings)
                    if settings.lambda_sem > 0:
                        terms["semantic"] = semantic_loss(pretrained, source, made.fake_t, settings)
                losses.sum_of(terms.values()).backward()  # type: ignore[no-untyped-call]
            with self.autocast():
                shown = (("discriminator_t", x_t, made.fake_t), ("discriminator_s", x_s, made.fake_s))
                paid = [discriminator_loss(call, name, real, fake.detach(), settings) for name, real, fake in shown]
            losses.sum_of(paid).backward()  # type: ignore[no-untyped-call]

        return Step(run, list(networks.values()), [pretrained], ADAM, max(sizes.values()))

    def rendering(self) -> Step:
        """The generator on whole images, or on tiles."""
        settings, render = self.config.translate, self.config.render
        generator = build_generator(settings, self.config.seed, GENERATORS[0]).eval()
        width, height = self.config.data.source.size
        size = (width, height) if render.tile is None else (min(width, render.tile), min(height, render.tile))

        def run() -> None:
            with torch.no_grad(), self.autocast():
                generator(self.images(size, render.batch))

        return Step(run, [], [generator], 0, size)

    def adaptation(self) -> Step:
        """Stage 2: the segmenter on I, then on T against D, then D."""
        settings, data = self.config.adapt, self.config.data
        segmenter = self.segmenter(acm=True)
        discriminator = PixelDiscriminator(self.classes.num_classes, settings.ndf)
        sizes = {d: _seen(getattr(data, d).size, settings.augment) for d in ("source", "target")}
        labels = {d: _labelled(getattr(data, d).size, settings.augment) for d in ("source", "target")}

        def run() -> None:
            with frozen([discriminator]):
                with self.autocast():
                    on_i = segmenter(self.images(sizes["source"]), labels["source"][::-1])
                    loss = losses.supervision(on_i, self.labels(labels["source"]), on=settings.seg_on)
                loss.backward()  # type: ignore[no-untyped-call]
                with self.autocast():
                    on_t = segmenter(self.images(sizes["target"]), labels["target"][::-1])
                    shown = on_t.logits.softmax(dim=1)
                    weights = losses.pixel_weights(on_t.p1, on_t.p2)
                    loss = losses.adversarial_segmenter(discriminator(shown), weights)
                loss.backward()  # type: ignore[no-untyped-call]
            with self.autocast():
                judged_i = discriminator(on_i.detach().logits.softmax(dim=1))
                loss = losses.adversarial_discriminator(judged_i, discriminator(shown.detach()), weights)
            loss.backward()  # type: ignore[no-untyped-call]

        kept = max(_kept(settings), 1)
        return Step(run, [segmenter, discriminator], [], kept, max(sizes.values()))

    def evaluation(self) -> Step:
        """Scoring a batch of target images."""
        segmenter, evaluate = self.segmenter(acm=True).eval(), self.config.evaluate
        width, height = self.config.data.target.size
        largest = max(evaluate.scales)
        size = round(width * largest), round(height * largest)

        def run() -> None:
            with torch.no_grad(), self.autocast():
                segmenter(self.images(size, evaluate.batch), (height, width))

        return Step(run, [], [segmenter], 0, size)

    def segmenter(self, *, acm: bool) -> Segmenter:
        """Build the segmenter with random weights, ready to train."""
        return segmenter_of(self.config, world=1, with_acm=acm).train()

    def images(self, size: Size, count: int | None = None) -> Tensor:
        """Make a micro-batch of images."""
        shape = (count or self.batch, 3, size[1], size[0])
        return torch.rand(shape, device=self.device).contiguous(memory_format=torch.channels_last)

    def labels(self, size: Size) -> Tensor:
        """Make its labels, all of the first class."""
        return torch.zeros(self.batch, size[1], size[0], dtype=torch.int64, device=self.device)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context of a forward pass."""
        return torch.autocast(self.device, self.dtype, enabled=self.dtype is not None)


def _kept(settings: SegmenterTraining) -> int:
    return ADAM if settings.optimizer == "adamw" else int(settings.momentum > 0)


def _seen(size: Size, augment: Augment, width: int | None = None) -> Size:
    """Return the width and height a network is shown: the crop, or the image at its largest scale."""
    if augment.crop is not None:
        return augment.crop
    largest = max(augment.scales) * (width / size[0] if width is not None else 1.0)
    return round(size[0] * largest), round(size[1] * largest)


def _labelled(size: Size, augment: Augment, width: int | None = None) -> Size:
    """Return the width and height of its label: the crop's, or the image's as it is packed."""
    return augment.crop if augment.crop is not None else size
