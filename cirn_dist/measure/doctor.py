"""What `cirn-dist doctor` looks at: whether this machine can run, what it would run with, and what may go wrong."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from cirn_dist.errors import ConfigError
from cirn_dist.libraries import installed
from cirn_dist.measure.findings import Finding
from cirn_dist.precision import Hardware, choose_precision, hardware, has_kernels

V100_ADVICE = (
    "a V100 (sm_70) needs a PyTorch build for CUDA 12.6 or older: those for CUDA 12.8 have no kernels for it from "
    "PyTorch 2.11 on, those for CUDA 13 never had"
)
_LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_NODEID",
           "CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU", "ACCELERATE_MIXED_PRECISION", "OMP_NUM_THREADS")  # fmt: skip
_LEAST_FREE = 10 * 2**30
_SHM, _LEAST_SHM = Path("/dev/shm"), 2**29


def examine(folder: Path = Path()) -> list[Finding]:
    """Look at this machine and environment.

    Args:
        folder: where runs would be written.
    """
    machine = hardware()
    return [
        Finding("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        pairing(torch.__version__, _installed("torchvision")),
        *devices(machine),
        precision(machine),
        launch(os.environ),
        disk(shutil.disk_usage(existing(folder)).free, folder),
        *([shared_memory(shutil.disk_usage(_SHM).total, machine.device)] if _SHM.is_dir() else []),
        Finding("Optional", ", ".join(f"{n} {_installed(n) or 'not installed'}" for n in ("tensorboard", "wandb"))),
    ]


def pairing(torch_version: str, torchvision_version: str | None) -> Finding:
    """Compare the versions of torch and torchvision, and the CUDA they were built for; 2.N belongs to 0.(N + 15)."""
    found = f"torch {torch_version}, torchvision {torchvision_version or 'not installed'}"
    if torchvision_version is None:
        return Finding("Libraries", found, "install the torchvision that belongs to this torch", broken=True)
    minors = [re.match(r"(\d+)\.(\d+)", text) for text in (torch_version, torchvision_version)]
    builds = [text.partition("+")[2] for text in (torch_version, torchvision_version)]
    wanted = None if minors[0] is None or minors[0][1] != "2" else f"0.{int(minors[0][2]) + 15}"
    if wanted is not None and minors[1] is not None and minors[1][0] != wanted:
        return Finding("Libraries", found, f"torch {torch_version} belongs to torchvision {wanted}", broken=True)
    if all(builds) and builds[0] != builds[1]:
        advice = f"built for {builds[0]} and {builds[1]}: install both from one index"
        return Finding("Libraries", found, advice, broken=True)
    return Finding("Libraries", found)


def devices(machine: Hardware) -> list[Finding]:
    """Name the GPUs and compare each with the kernels of this build; or the processor where there is none."""
    if machine.device == "cpu":
        found = f"no GPU; {os.cpu_count()} cores, {torch.get_num_threads()} threads, {_memory() / 2**30:.0f} GiB"
        built = torch.version.cuda is not None
        return [Finding("Device", found, "this build has CUDA, but no driver or GPU is visible" if built else "")]
    findings = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        name = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"
        findings.append(kernels(name, (facts.major, facts.minor), machine.archs))
    return findings


def kernels(name: str, capability: tuple[int, int], archs: Sequence[str]) -> Finding:
    """Say whether this build has kernels for a GPU."""
    found = f"{name}, sm_{capability[0]}{capability[1]}; this build has {', '.join(archs) or 'no list'}"
    if has_kernels(capability, tuple(archs)):
        return Finding("GPU", found)
    advice = V100_ADVICE if capability == (7, 0) else "install a PyTorch build with kernels for it"
    return Finding("GPU", found, advice, broken=True)


def precision(machine: Hardware) -> Finding:
    """Say what `engine.precision: auto` is here."""
    try:
        chosen = choose_precision("auto", machine)
    except ConfigError as error:
        return Finding("Precision", "none", str(error), broken=True)
    why = {
        "bf16": "this hardware computes in it",
        "fp16": "no bf16 before sm_80; one gradient scaler per player",
        "fp32": "this processor does not compute in bf16",
    }
    if machine.device == "cpu" and chosen == "bf16":
        return Finding("Precision", "auto is bf16: this processor has instructions for it")
    return Finding("Precision", f"auto is {chosen}: {why.get(chosen, '')}")


def launch(environment: Mapping[str, str]) -> Finding:
    """Show what launchers and schedulers have said."""
    said = [f"{name}={environment[name]}" for name in _LAUNCH if name in environment]
    advice = ""
    if (
        not environment.keys() & {"WORLD_SIZE", "SLURM_STEP_NUM_TASKS"}
        and "SLURM_NTASKS" in environment
        and environment["SLURM_NTASKS"] != "1"
    ):
        advice = "several SLURM tasks and one process: start ranks with srun, torchrun or accelerate launch"
    return Finding("Launch", ", ".join(said) or "one process", advice)


def disk(free: int, folder: Path) -> Finding:
    """Say how much room there is for a run."""
    advice = "a run of the paper's size keeps its shard sets and checkpoints: tens of GiB" if free < _LEAST_FREE else ""
    return Finding("Free disk", f"{free / 2**30:.1f} GiB in {folder.resolve()}", advice)


def shared_memory(total: int, device: str) -> Finding:
    """Say how large /dev/shm is; containers make it 64 MiB unless told otherwise, and the loader needs none of it."""
    small = device == "cuda" and total < _LEAST_SHM
    advice = "NCCL passes data between this machine's GPUs through it: docker run --shm-size=1g" if small else ""
    return Finding("Shared memory", f"{total / 2**20:,.0f} MiB in {_SHM}", advice)


def _installed(package: str) -> str | None:
    if not installed(package):
        return None
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    folder = folder.resolve()
    return folder if folder.exists() else existing(folder.parent)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
