"""How good the CIR is, in figures that need no download: the run's own images and its source network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from cirn_dist.checkpoint.state import load_component
from cirn_dist.data.labels import UInt8Array
from cirn_dist.data.loading.images import Images, label_of, read_images, spread_over
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.run import Run
from cirn_dist.files import replace_text
from cirn_dist.inference.iou import confusion, scores
from cirn_dist.inference.logits import label_map
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.rundir.translation import QUALITY, Change, Quality, read_quality
from cirn_dist.stages.images import each_ranks_groups, relabelling
from cirn_dist.stages.segmenter import load_segmenter
from cirn_dist.stages.translate.colours import TargetColours
from cirn_dist.stages.translate.distances import COLOUR_CELLS, FeatureMoments, colour_counts, frechet, total_variation
from cirn_dist.stages.translate.players import GENERATORS, build_generator


def measure_quality(run: Run, source: ShardSet, target: ShardSet, cir: ShardSet) -> Quality | None:
    """Compare the CIR with both domains, on `translate.quality_images` of each; None where that is 0.

    Each rank looks at every R-th image, and the figures are of all of them. Those of an earlier start are kept.
    """
    count = min(run.config.translate.quality_images, len(source), len(target))
    if count == 0:
        return None
    known = run.runtime.on_main(lambda: read_quality(run.folder))
    if known is not None and (known.cir, known.images) == (cir.fingerprint, count):
        return known
    segmenter = load_segmenter(run, "source")
    before, after, there = (_Look(run, segmenter) for _ in range(3))
    same = torch.zeros(2, dtype=torch.float64)
    table = relabelling(run, source, "source")
    for group in _groups(run, source, count):
        labels: list[UInt8Array] = []
        own: list[UInt8Array] = []
        translated: list[UInt8Array] = []
        for images in _images(run, source, group):
            theirs = [label_of(images, at, table) for at in range(len(images.indices))]
            own += before.judge(images, theirs)
            labels += theirs
        for images in _images(run, cir, group):  # cut elsewhere where translated images have other sizes
            start = len(translated)
            translated += after.judge(images, labels[start : start + len(images.indices)])
        for one, other in zip(own, translated, strict=True):
            same += torch.tensor([float((one == other).sum()), float(one.size)])
    for group in _groups(run, target, count):
        for images in _images(run, target, group):
            there.see(images)
    for look in (before, after, there):
        look.reduce()
    agreeing, pixels = run.runtime.sum(same).tolist()
    cycles = _cycles(run, source, target, count) if run.config.translate.method == "cyclegan" else None

    def put_together() -> Quality:
        found = Quality(
            cir=cir.fingerprint,
            images=count,
            miou=Change(source=before.miou(), cir=after.miou()),
            same_class=agreeing / pixels,
            colour=Change(source=before.colour_distance(there), cir=after.colour_distance(there)),
            features=Change(source=before.feature_distance(there), cir=after.feature_distance(there)),
            cycle_l1=cycles,
        )
        replace_text(run.folder / QUALITY, found.model_dump_json(indent=1))
        return found

    return run.runtime.on_main(put_together)


class _Look:
    """What the source network and the eye see in some images of one set."""

    def __init__(self, run: Run, segmenter: Segmenter) -> None:
        self.run, self.segmenter = run, segmenter
        device, classes = run.runtime.device, run.labels.num_classes
        self.features = FeatureMoments(segmenter.backbone.out_channels, device)
        self.colours = torch.zeros(COLOUR_CELLS, dtype=torch.float64, device=device)
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)

    @torch.inference_mode()
    def see(self, images: Images) -> None:
        """Take some images' colours and features into account."""
        with self.run.runtime.autocast():
            self._add(images, self.segmenter.deep(images.pixels))

    @torch.inference_mode()
    def judge(self, images: Images, labels: Sequence[UInt8Array]) -> list[UInt8Array]:
        """See some images, compare the network's decisions with their labels, and return them at the labels' sizes."""
        with self.run.runtime.autocast():
            seen = self.segmenter(images.pixels)
        assert seen.deep is not None, "a segmenter's output has it"
        self._add(images, seen.deep)
        decisions = [label_map(logits, label.shape) for logits, label in zip(seen.logits, labels, strict=True)]
        for decision, label in zip(decisions, labels, strict=True):
            self.confusion += torch.from_numpy(confusion(decision, label, len(self.confusion)))
        return decisions

    def _add(self, images: Images, features: Tensor) -> None:
        self.colours += colour_counts(images.pixels)
        self.features.add(features)

    def reduce(self) -> None:
        """Add up what all ranks have seen."""
        total = self.run.runtime.sum
        self.features.sums, self.colours = total(self.features.sums), total(self.colours)
        self.confusion = total(self.confusion)

    def miou(self) -> float | None:
        """Return the network's mean IoU on the labels."""
        return scores(self.confusion.cpu().numpy()).miou

    def colour_distance(self, other: _Look) -> float:
        """Return how far the colour histograms are apart."""
        return total_variation(self.colours.cpu().numpy(), other.colours.cpu().numpy())

    def feature_distance(self, other: _Look) -> float:
        """Return how far the network's features are apart."""
        return frechet(self.features.mean_and_covariance(), other.features.mean_and_covariance())


def _groups(run: Run, shards: ShardSet, count: int) -> Iterator[Sequence[int]]:
    """Yield this rank's share of `count` images, spread over the set, as many at a time as are scored."""
    places, batch = spread_over(len(shards), count), run.config.evaluate.batch
    return each_ranks_groups(run, [places[start : start + batch] for start in range(0, len(places), batch)], None)


def _images(run: Run, shards: ShardSet, group: Sequence[int]) -> Iterator[Images]:
    return read_images(shards, group, len(group), run.runtime.device)


@torch.inference_mode()
def _cycles(run: Run, source: ShardSet, target: ShardSet, count: int) -> dict[str, float]:
    """Return the mean |F(G(x)) - x| of source images and |G(F(x)) - x| of target images, in [-1, 1]."""
    trained, settings = run.finished("translate"), run.config.translate
    there_and_back = []
    for component in GENERATORS:
        generator = build_generator(settings, run.config.seed, component)
        load_component(generator, trained, component)
        there_and_back.append(generator.to(run.runtime.device).eval())
    colours = TargetColours.measure(run, target) if settings.colour_match else None
    found = {}
    for domain, shards, (go, come) in (
        ("source", source, there_and_back),
        ("target", target, there_and_back[::-1]),
    ):
        sums = torch.zeros(2, dtype=torch.float64)
        for images in (one for group in _groups(run, shards, count) for one in _images(run, shards, group)):
            x = images.pixels
            if colours is not None and domain == "source":
                x = colours.give(x, images.indices)
            with run.runtime.autocast():
                back: Tensor = come(go(x))
            each = (back.float() - x).abs().mean((1, 2, 3))
            sums += torch.tensor([float(each.sum()), float(len(each))])
        total, seen = run.runtime.sum(sums).tolist()
        found[domain] = total / seen
    return found
