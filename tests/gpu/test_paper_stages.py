"""The paper's stages at its sizes: time by phase, memory beside the estimate, no waiting inside a step, none kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from figures import Figures
from paper import STAGES, configuration, new_run, sets, trainer
from steps import GIB, WAITED, Watched, losses_of, watch
from suite import NEEDS_GPU, REHEARSAL

from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.arithmetic import choose_kernels
from cirn_dist.measure.footprint import footprints

pytestmark = NEEDS_GPU

PRECISION = "bf16"
WAYS = {
    "fp16": ("engine.precision=fp16",),
    "fp32": ("engine.precision=fp32",),
    "tf32": ("engine.precision=fp32", "engine.tf32=true"),
    "bf16 deterministic": ("engine.precision=bf16", "engine.deterministic=true"),
}
OTHERS = [
    *(("bf16 deterministic", stage) for stage in STAGES),
    *((way, stage) for stage in ("adapt", "translate") for way in ("fp32", "tf32", "fp16")),
]
if REHEARSAL:
    OTHERS = [("fp32", "adapt")]


@pytest.fixture(autouse=True)
def kernels() -> Iterator[None]:
    """Choose the usual kernels again, and leave the GPU's memory empty."""
    yield
    choose_kernels(deterministic=False, tf32=False)
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ShardSet]:
    """Return both domains, packed at the paper's sizes."""
    return sets(tmp_path_factory.mktemp("paper"), configuration())


@pytest.fixture(scope="session")
def watched(
    images: dict[str, ShardSet], tmp_path_factory: pytest.TempPathFactory, figures: Figures
) -> Callable[[str], Watched]:
    """Return the function that trains a stage in bf16 with its steps watched, once however often it is called."""
    found: dict[str, Watched] = {}

    def once(stage: str) -> Watched:
        if stage not in found:
            run = new_run(configuration(f"engine.precision={PRECISION}"), tmp_path_factory.mktemp(stage))
            found[stage] = watch(trainer(stage, run, images))
            run.runtime.release()
            figures.put(f"paper, {stage}, {PRECISION}", **found[stage].summary(1))
        return found[stage]

    return once


def test_matrix_peak(figures: Figures) -> None:
    """The rate that a step's is a share of."""
    if REHEARSAL:
        pytest.skip("a rehearsal measures nothing")
    for name, dtype, tf32 in (("bf16", torch.bfloat16, False), ("fp16", torch.float16, False),
                              ("tf32", torch.float32, True), ("fp32", torch.float32, False)):  # fmt: skip
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
        for _ in range(3):
            a @ b
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        figures.put("matrix peak, TFLOP/s", **{name: 10 * 2 * 8192**3 / (time.perf_counter() - began) / 1e12})


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_trains(stage: str, watched: Callable[[str], Watched]) -> None:
    found = watched(stage)
    assert found.step > 0
    assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in found.losses)


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_waits_once(stage: str, watched: Callable[[str], Watched]) -> None:
    """For the numbers that say whether to update, and nowhere else."""
    waits = watched(stage).waits
    if not REHEARSAL:
        assert sum(waits.values()) == WAITED, f"where the host waited in {WAITED} steps: {dict(waits)}"


@pytest.mark.parametrize("stage", STAGES)
def test_memory_is_what_doctor_says(stage: str, watched: Callable[[str], Watched], figures: Figures) -> None:
    config = configuration(f"engine.precision={PRECISION}")
    counted = footprints(config, PRECISION, "cpu", only=[stage])[0].total / GIB
    figures.put(f"memory, {stage}", counted_gib=counted)
    if REHEARSAL:
        watched(stage)
        return
    gc.collect()
    torch.cuda.empty_cache()
    doctor = footprints(config, PRECISION, "cuda", only=[stage])[0].total / GIB
    figures.put(f"memory, {stage}", doctor_gib=doctor)
    peak = watched(stage).peak / GIB
    figures.put(f"memory, {stage}", peak_gib=peak, counted_over_peak=counted / peak, doctor_over_peak=doctor / peak)
    assert doctor == pytest.approx(peak, rel=0.1), f"counted {counted:.2f}, doctor {doctor:.2f}, needed {peak:.2f} GiB"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gives_its_memory_back(
    stage: str, images: dict[str, ShardSet], tmp_path: Path, figures: Figures
) -> None:
    def held() -> int:
        gc.collect()
        return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0

    before = held()
    run = new_run(configuration(f"engine.precision={PRECISION}", iterations=2), tmp_path)
    trainer(stage, run, images)()
    run.runtime.release()
    kept = held() - before
    figures.put("kept after a stage, MiB", **{stage: kept / 2**20})
    assert kept < 2**24


@pytest.mark.parametrize(("way", "stage"), OTHERS)
def test_other_arithmetic(
    way: str, stage: str, images: dict[str, ShardSet], tmp_path: Path, figures: Figures, request: pytest.FixtureRequest
) -> None:
    run = new_run(configuration(*WAYS[way]), tmp_path)
    found = watch(trainer(stage, run, images))
    run.runtime.release()
    figures.put(f"paper, {stage}, {way}", **found.summary(1))
    usual = request.getfixturevalue("watched")(stage)
    figures.put("time of a step over that in bf16", **{f"{stage}, {way}": found.step / usual.step})


def test_more_images_at_a_time(
    images: dict[str, ShardSet], watched: Callable[[str], Watched], tmp_path: Path, figures: Figures
) -> None:
    """Four in one forward pass, and eight one by one: no more of these are on the GPU than two."""
    one = watched("adapt")
    for name, batch, micro in (("four at a time", 4, 4), ("eight, one by one", 8, 1)):
        steps = [f"engine.images_per_step={batch}", f"engine.micro_batch={micro}"]
        config = configuration(f"engine.precision={PRECISION}", *steps, iterations=batch * 24)
        run = new_run(config, tmp_path / name)
        found = watch(trainer("adapt", run, images))
        run.runtime.release()
        figures.put(f"paper, adapt, {PRECISION}, {name}", **found.summary(batch))
        if micro == 1 and not REHEARSAL:  # gradients are there during the forward passes too
            assert found.peak - one.peak < 0.5 * GIB


def test_the_same_step_has_the_same_bits(images: dict[str, ShardSet], tmp_path: Path) -> None:
    """At the paper's sizes, where other algorithms are chosen than at small ones."""
    ways = ("engine.precision=bf16", "engine.deterministic=true")
    for stage in STAGES:
        runs = [new_run(configuration(*ways, iterations=4), tmp_path / stage / name) for name in ("one", "two")]
        one, two = (losses_of(trainer(stage, run, images)) for run in runs)
        assert one == two, stage
