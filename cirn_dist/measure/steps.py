"""Timing a stage's step: its speed, how near the machine's limit that is, where the time goes; beside another's."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch.utils.flop_counter import FlopCounterMode

from cirn_dist.choices import Precision
from cirn_dist.config.schema import Config
from cirn_dist.data.run_sets.label_space import run_space
from cirn_dist.engine.arithmetic import choose_kernels, keep_host_memory
from cirn_dist.errors import ConfigError, nearest
from cirn_dist.measure.footprint import footprints
from cirn_dist.measure.others import other
from cirn_dist.measure.phases import phases
from cirn_dist.measure.reading import machine
from cirn_dist.measure.rehearsal import rehearsals
from cirn_dist.models.on_cpu import BY_ONEDNN, product
from cirn_dist.precision import HALF

_SIDE = 2048  # of the matrices whose product says what the machine can do


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Timed(_Record):
    """Medians over the steps that were counted, in seconds; `cpu` is this process's own time, on all its threads."""

    name: str
    wall: float
    cpu: float


class StepBench(_Record):
    """What a step costs.

    Attributes:
        flop: floating-point operations of a step's matrix products and convolutions, a multiply-add being two.
        peak: operations per second of a large matrix product in the same precision, on this machine, in this run.
        memory: bytes at most, counted from the step's allocations; measured on a GPU.
        phases: seconds of one step by what was being done, and of reading its images in one process.
        against: another's step on the same images, in turn with ours.
        ratio: our time by theirs: of CPU seconds on a CPU, of wall time on a GPU.
    """

    machine: str
    device: str
    stage: str
    images: str
    images_per_step: int
    precision: str
    threads: int
    steps: int
    ours: Timed
    flop: int
    peak: float
    memory: int
    phases: dict[str, float]
    against: Timed | None = None
    ratio: float | None = None

    @property
    def speed(self) -> float:
        """Images of each domain per second."""
        return self.images_per_step / self.ours.wall

    @property
    def share(self) -> float:
        """What of the machine's matrix peak a step reaches."""
        return self.flop / self.ours.wall / self.peak


def bench_step(
    config: Config, stage: str, precision: Precision, device: str, *, steps: int = 10, against: str | None = None
) -> StepBench:
    """Time a stage's step on drawn images, networks from random weights, micro-batches as configured.

    Args:
        steps: counted, after two of warm-up.
        against: `plain`, or the folder of another project's code; see `measure/others.py`.

    Raises:
        ConfigError: no such stage, or nothing known in that folder.
    """
    choose_kernels(deterministic=config.engine.deterministic, tf32=config.engine.tf32)
    keep_host_memory()
    with rehearsals(config, precision, device, drawn=True) as works:
        trained = [name for name in works if name not in ("render", "evaluate")]
        if stage not in trained:
            raise ConfigError(f"no stage {stage!r} that trains", where="STAGE", fix=nearest(stage, trained))
        work = works[stage]()
        mine: list[tuple[str, Callable[[], None]]] = [("cirn_dist", work.step)]
        if against is not None:
            given = other(against, stage, work, len(run_space(config.data).classes), precision)
            mine.append((given.name, given.step))
        ours, *theirs = _in_turn(mine, steps, device)
        flop = counted(work.step)
        spent = phases(work, compiled=config.engine.compile is not None)
        began = time.perf_counter()
        work.read()
        spent["reading, in one process"] = time.perf_counter() - began
        size, count = work.images, work.count
    (memory,) = footprints(config, precision, device, [stage])
    cpu = device == "cpu"
    return StepBench(
        machine=machine(),
        device="CPU" if cpu else torch.cuda.get_device_name(),
        stage=stage,
        images=f"{size[0]}x{size[1]}",
        images_per_step=count,
        precision=precision,
        threads=torch.get_num_threads(),
        steps=steps,
        ours=ours,
        flop=flop,
        peak=matrix_peak(precision, device),
        memory=memory.total,
        phases=spent,
        against=theirs[0] if theirs else None,
        ratio=(ours.cpu / theirs[0].cpu if cpu else ours.wall / theirs[0].wall) if theirs else None,
    )


def counted(step: Callable[[], object]) -> int:
    """Return the floating-point operations of a step's matrix products and convolutions."""
    # torch's own count of a convolution's backward passes takes every one for a dense one
    own: dict[Any, Callable[..., int]] = {torch.ops.aten.convolution_backward: _backward}
    if BY_ONEDNN is not None:
        own[BY_ONEDNN] = _product
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        step()
    return int(counter.get_total_flops())


def _backward(out: Sequence[int], x: Sequence[int], weight: Sequence[int], *given: Any, **_: Any) -> int:
    """Count a convolution's gradients: each that is asked for is as much as its forward pass."""
    transposed, asked = bool(given[4]), given[7]
    return 2 * sum(map(bool, asked[:2])) * math.prod(x if transposed else out) * math.prod(weight[1:])


def _product(x: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x) * weight[0]


def matrix_peak(precision: Precision, device: str) -> float:
    """Return the operations per second of a matrix product in this precision, the best of ten by either library."""
    dtype = HALF.get(precision, torch.float64 if precision == "fp64" else torch.float32)
    a, b = (torch.randn(_SIDE, _SIDE, device=device).to(dtype) for _ in "ab")
    times = []
    ways: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [torch.mm]
    if device == "cpu":
        ways.append(product)
    for multiply in ways * 10:
        _wait(device)
        began = time.perf_counter()
        multiply(a, b)
        _wait(device)
        times.append(time.perf_counter() - began)
    return 2 * _SIDE**3 / min(times)


def _in_turn(named: Sequence[tuple[str, Callable[[], None]]], steps: int, device: str) -> list[Timed]:
    """Time several things in turn, so that what else the machine does meets them alike; two go uncounted."""
    taken: list[list[tuple[float, float]]] = [[] for _ in named]
    for turn in range(steps + 2):
        for (_, step), times in zip(named, taken, strict=True):
            _wait(device)
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            _wait(device)
            if turn >= 2:
                times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return [
        Timed(name=name, wall=statistics.median(wall for wall, _ in times), cpu=statistics.median(c for _, c in times))
        for (name, _), times in zip(named, taken, strict=True)
    ]


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
