"""The doctor's findings on machines that are not this one, and its memory estimate against an allocator's own count."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from conftest import Command, needs_timm
from stagerun import settings
from torch.profiler import ProfilerActivity, profile

from cirn_dist import losses
from cirn_dist.config.load import load
from cirn_dist.inference.network import segmenter_of
from cirn_dist.measure.doctor import disk, kernels, launch, pairing, precision, shared_memory
from cirn_dist.measure.footprint import footprints
from cirn_dist.measure.rehearsal import rehearsals
from cirn_dist.models import on_cpu
from cirn_dist.models.cyclegan import Generator
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.models.discriminators import PatchDiscriminator
from cirn_dist.precision import Hardware

MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("torch_version", "torchvision_version", "advice"),
    [
        ("2.4.1", "0.19.1", ""),
        ("2.14.1+cu126", "0.29.1+cu126", ""),
        ("2.14.1", "0.29.1+cpu", ""),
        ("2.14.1", "0.28.0", "torch 2.14.1 belongs to torchvision 0.29"),
        ("2.14.1+cpu", "0.29.1+cu126", "built for cpu and cu126"),
        ("2.14.1", None, "install the torchvision"),
    ],
)
def test_torch_and_torchvision_belong_together(
    torch_version: str, torchvision_version: str | None, advice: str
) -> None:
    found = pairing(torch_version, torchvision_version)
    assert found.broken == bool(advice)
    assert found.advice.startswith(advice)


def test_a_v100_is_told_which_build_it_needs() -> None:
    new = ("sm_75", "sm_80", "sm_90", "compute_90")
    v100 = kernels("Tesla V100-SXM2-16GB, 16 GiB", (7, 0), new)
    assert v100.broken
    assert "CUDA 12.6 or older" in v100.advice
    assert not kernels("Tesla V100-SXM2-16GB", (7, 0), ("sm_70", *new)).advice
    assert not kernels("A100", (8, 0), new).broken
    assert not kernels("A40", (8, 6), new).broken, "sm_80 runs on sm_86"
    assert not kernels("B200", (10, 0), new).broken, "compute_90 is compiled for it"
    assert precision(Hardware("cuda", (7, 0), new)).broken
    assert precision(Hardware("cuda", (7, 0), ("sm_70",))).found.startswith("auto is fp16")
    assert precision(Hardware("cuda", (8, 0), new)).found.startswith("auto is bf16")


def test_launch_and_disk() -> None:
    assert launch({}).found == "one process"
    assert launch({"RANK": "1", "WORLD_SIZE": "4"}).found == "RANK=1, WORLD_SIZE=4"
    assert "start ranks with srun, torchrun" in launch({"SLURM_NTASKS": "4"}).advice
    assert not launch({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}).advice
    assert not launch({"SLURM_NTASKS": "4", "WORLD_SIZE": "4"}).advice
    assert disk(3 * GIB, Path("x")).advice
    assert not disk(300 * GIB, Path("x")).advice


def test_a_containers_shared_memory_is_too_small_for_gpus() -> None:
    found = shared_memory(64 * 2**20, "cuda")
    assert found.found == "64 MiB in /dev/shm"
    assert "--shm-size=1g" in found.advice
    assert not found.broken
    assert not shared_memory(64 * 2**20, "cpu").advice, "the loader's batches cross in memory files"
    assert not shared_memory(8 * GIB, "cuda").advice


def allocated_peak(step) -> int:
    """Return the most bytes the CPU allocator had given out during a step, above what it had before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = profiler.profiler.kineto_results.events()
    live = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def not_worth_it(_: torch.Tensor) -> bool:
    """As a Mock's answer, without the features it was asked about being kept."""
    return False


@pytest.mark.parametrize(
    ("stage", "backbone"),
    [("source", "tiny"), ("translate", "tiny"), ("adapt", "tiny"), ("self_train", "tiny"), ("adapt", "mobilenet_v2")],
)
def test_the_count_is_what_the_allocator_gives_out(stage: str, backbone: str, tmp_path: Path) -> None:
    config = settings(
        tmp_path, "translate.ngf=8", "translate.augment.crop=[96,96]", "data.source.size=[128,96]",
        f"model.backbone={backbone}", "adapt.augment.crop=[128,96]", "source.augment.crop=[128,96]",
        "self_train.augment.crop=[128,96]", "data.target.size=[128,96]", "translate.upsampling=transposed",
    )  # fmt: skip
    (counted,) = footprints(config, "fp32", only=[stage])
    with rehearsals(config, "fp32") as works:
        step = works[stage]().step
        with mock.patch.object(on_cpu, "worth_it", not_worth_it):  # a GPU's kernels are counted
            step()
            measured = counted.parameters + counted.optimizer + allocated_peak(step)
    assert not counted.measured
    assert counted.activations > 2 * MIB
    assert counted.total == pytest.approx(measured, rel=0.12), (counted.total / MIB, measured / MIB)


def test_a_teacher_and_masked_images_are_counted(tmp_path: Path) -> None:
    online = ("self_train.method=online", "self_train.source_weight=1", "self_train.augment.crop=[48,40]")
    (alone,) = footprints(settings(tmp_path), "fp32", only=["self_train"])
    (taught,) = footprints(settings(tmp_path, *online), "fp32", only=["self_train"])
    assert taught.parameters == pytest.approx(2 * alone.parameters, rel=0.01), "the teacher"
    assert (taught.gradients, taught.optimizer) == (alone.gradients, alone.optimizer), "which is not trained"


@needs_timm
def test_networks_of_timm_are_counted(tmp_path: Path) -> None:
    config = settings(tmp_path, "model.backbone=timm:pvt_v2_b0", "model.head=daformer", "model.head_width=16",
                      "model.weights=null")  # fmt: skip
    (found,) = footprints(config, "fp32", only=["source"])
    network = segmenter_of(config, world=1, with_acm=False)
    held = (*network.parameters(), *network.buffers())
    assert found.parameters == sum(t.numel() * t.element_size() for t in held)
    assert found.total > found.parameters + found.gradients


def test_the_estimate_follows_the_stages_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing retells a stage's step: another loss, and terms that are switched on, are other estimates."""
    small = load("smoke")
    (before,) = footprints(small, "fp32", only=["source"])
    supervision = losses.supervision

    def costly(output: SegOutput, *given: Any, **named: Any) -> torch.Tensor:
        wide = output.logits.repeat(1, 50, 1, 1)
        return supervision(output, *given, **named) + 0 * (wide * wide).sum()

    with monkeypatch.context() as patch:
        patch.setattr(losses, "supervision", costly)
        (after,) = footprints(small, "fp32", only=["source"])
    assert after.total > before.total + 10 * MIB
    (alone,) = footprints(small, "fp32", only=["self_train"])
    (with_d,) = footprints(load("smoke", ["self_train.source_weight=1", "self_train.lambda_adv=0.001"]), "fp32",
                           only=["self_train"])  # fmt: skip
    assert with_d.parameters > alone.parameters, "D's"
    assert with_d.total > alone.total + 2 * MIB


def test_the_parts_of_the_estimate_at_the_papers_size() -> None:
    """CycleGAN's parameters by hand; half precision and recomputed blocks each save what they should."""
    (plain,) = footprints(load("gta5_cityscapes"), "bf16", only=["translate"])
    generators = 2 * sum(p.numel() for p in Generator().parameters())
    discriminators = 2 * sum(p.numel() for p in PatchDiscriminator().parameters())
    assert generators == pytest.approx(22.76e6, rel=1e-3)
    assert discriminators == pytest.approx(5.53e6, rel=1e-3)
    assert plain.gradients == 4 * (generators + discriminators)
    assert plain.optimizer == 8 * (generators + discriminators), "Adam's two"
    assert plain.images == "452x452"
    recomputing = load("gta5_cityscapes", ["translate.checkpoint_activations=true"])
    (saving,) = footprints(recomputing, "bf16", only=["translate"])
    assert saving.gradients == plain.gradients
    assert saving.activations < 0.8 * plain.activations
    assert saving.total < plain.total < 14 * GIB, "with a GPU's own gigabyte it fits 16"


def test_the_command(cirn_dist: Command) -> None:
    done = cirn_dist("doctor", "--config", "smoke")
    assert done.returncode == 0, done.stderr + done.stdout
    printed = " ".join(done.stdout.split())
    assert f"torch {torch.__version__}" in printed
    assert "auto is" in printed
    assert "Free disk" in printed
    assert "translate 64x48" in printed
    wrong = cirn_dist("doctor", "--config", "no_such")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
