"""Measuring how a stage's step scales: the real command under the real launcher, on the same work, per number of ranks.

Every measurement is a short run of its own; what it cost is read from its metrics.jsonl.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cirn_dist.config.groups.data import Domain
from cirn_dist.config.load import load
from cirn_dist.config.schema import Config
from cirn_dist.data.pack.pack import pack
from cirn_dist.errors import ConfigError, TrainingError, nearest
from cirn_dist.measure.reading import machine
from cirn_dist.measure.ring_model import Link, Prediction, Work, predict
from cirn_dist.rundir.metrics import FILE_NAME, Metrics, read_metrics

STAGES = ("source", "translate", "adapt")
WARM_UP = 2  # steps that are not counted: allocation, first-use compilation, the loader's start
_IMAGES = 16  # rendered per domain where the configuration has no packed ones


@dataclass(frozen=True)
class Measured:
    """What a step cost on R ranks; medians over steps, on rank 0, in seconds and bytes.

    Attributes:
        data: waiting for images.
        reduce: with an all-reduce of gradients under way, hidden or not; `exposed` is what backward does not hide.
        reduced: bytes each rank put into all-reduces.
        trainable: bytes of the players' trainable parameters.
    """

    ranks: int
    images_per_step: int
    step: float
    data: float
    reduce: float
    exposed: float
    reduced: int
    trainable: int

    @property
    def speed(self) -> float:
        """Images per second, all ranks."""
        return self.images_per_step / self.step


@dataclass(frozen=True)
class Scaling:
    """Measurements by number of ranks, the fewest first, and the work they say a step is."""

    machine: str
    stage: str
    measured: tuple[Measured, ...]
    threads: int

    @property
    def work(self) -> Work:
        """One image's time on one rank, and the bytes to reduce."""
        first = self.measured[0]
        passes = first.step - first.data - first.exposed
        return Work(passes * first.ranks / first.images_per_step, self.measured[-1].trainable)

    @property
    def local(self) -> Link | None:
        """The bandwidth a ring would need for the all-reduces of the largest world here; None with one rank."""
        last = self.measured[-1]
        if last.reduce <= 0:
            return None
        return Link(2 * (last.ranks - 1) / last.ranks * last.reduced / last.reduce, 0.0)

    def efficiency(self, found: Measured) -> float:
        """Return a measurement's speed over that of as many of the smallest world's ranks."""
        first = self.measured[0]
        return found.speed / first.speed * first.ranks / found.ranks

    def model(self, found: Measured) -> Prediction | None:
        """Return what the model says of a measured world, on this machine's own link."""
        if self.local is None:
            return None
        return predict(self.work, found.ranks, found.images_per_step, found.ranks, self.local, self.local)


def bench_scale(
    config: str,
    overrides: Sequence[str],
    folder: Path,
    *,
    stage: str = "adapt",
    ranks: Sequence[int] = (1, 2),
    steps: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> Scaling:
    """Run a stage for a few steps on every number of ranks.

    The global batch is the configuration's if all worlds divide it, else the smallest they do; images go through one
    at a time. Networks start from random weights. Images are rendered streets of the configuration's sizes, unless
    both domains name their raw data. All worlds get the same threads per rank.

    Args:
        folder: where sets and runs are written.
        steps: counted, after the warm-up.
        progress: called with (measurements done, measurements in all).

    Raises:
        ConfigError: the configuration is wrong, no such stage can be measured, or no rank is asked for.
        TrainingError: a run failed; ends with what it said.
    """
    if stage not in STAGES:
        raise ConfigError(f"no stage {stage!r}", where="--stage", fix=nearest(stage, STAGES))
    worlds = sorted(set(ranks))
    if not worlds or worlds[0] < 1:
        raise ConfigError("at least one rank is needed", where="--ranks", fix="for example 1,2")
    settings = load(config, [*overrides, "engine.micro_batch=1"])
    batch = math.lcm(*worlds)
    if settings.engine.images_per_step % batch == 0:
        batch = settings.engine.images_per_step
    changes = [*overrides, *_images(settings, folder), *_short(stage, batch, WARM_UP + steps)]
    threads = max(1, (os.cpu_count() or 1) // worlds[-1])
    found = []
    for done, world in enumerate(worlds):
        if progress:
            progress(done, len(worlds))
        out = folder / f"ranks-{world}"
        _run(world, [config, *changes, "--until", stage, "--out", str(out)], threads)
        found.append(summary(world, batch, read_metrics(out / stage / FILE_NAME)[WARM_UP:]))
    return Scaling(machine(), stage, tuple(found), threads)


def summary(ranks: int, images_per_step: int, lines: Sequence[Metrics]) -> Measured:
    """Return the medians of logged steps; what a line lacks is 0."""

    def median(name: str) -> float:
        return statistics.median(line.costs.get(name, 0.0) for line in lines)

    return Measured(
        ranks,
        images_per_step,
        step=median("step_s"),
        data=median("data_s"),
        reduce=median("reduce_s"),
        exposed=median("exposed_s"),
        reduced=round(median("reduced_bytes")),
        trainable=round(median("trainable_bytes")),
    )


def _images(settings: Config, folder: Path) -> list[str]:
    """Render both domains as streets, unless their raw data is named; returns the settings that say so."""
    domains = {"source": settings.data.source, "target": settings.data.target}
    if all(domain.raw is not None for domain in domains.values()):
        return []
    for name, domain in domains.items():
        options = {"appearance": "synthetic" if name == "source" else "photo", "count": _IMAGES}
        pack("streets", None, folder / "data" / name, size=domain.size, labels=name == "source", options=options)
    replaced = [f"data.{name}.{key}" for name in domains for key in Domain.model_fields if key != "size"]
    values = {"recipe": "streets", "split": "train", "options": "{}", "score_options": "{}"}
    changes = [f"{key}={values.get(key.rpartition('.')[2], 'null')}" for key in replaced if not key.endswith("raw")]
    return [*changes, *(f"data.{name}.raw={folder / 'data' / name}" for name in domains), "data.label_space=camvid11"]


def _short(stage: str, batch: int, steps: int) -> list[str]:
    """Return the settings of a run that trains its stage for some steps and everything before it for one."""
    return [
        f"engine.images_per_step={batch}", "engine.micro_batch=1", "engine.log_every=1",
        "engine.time_reductions=true", "engine.checkpoint_every=1000000000", "engine.check_replicas_every=0",
        "engine.trackers=[]", "evaluate.every=0", "evaluate.adabn=false", "controls=false",
        f"with_cir={str(stage == 'translate').lower()}", "model.weights=null", "model.segmenter=null",
        f"source.iterations={batch}", "adapt.warmup=0", f"{stage}.iterations={batch * steps}",
    ]  # fmt: skip


def _run(ranks: int, arguments: list[str], threads: int) -> None:
    head = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    done = subprocess.run(
        [sys.executable, *head, "-m", "cirn_dist", "run", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "cirn-dist:" in line] or done.stderr.splitlines()[-1:]
        raise TrainingError(f"ended with exit code {done.returncode}: {' '.join(said)}", where=f"{ranks} ranks")
