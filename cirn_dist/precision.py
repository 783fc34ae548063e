"""Which number format a run computes in: a pure function of the hardware, and what stays wide under autocast."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cirn_dist.choices import AskedPrecision, Precision
from cirn_dist.errors import ConfigError

HALF: Mapping[Precision, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}  # what autocast computes in
_YES = ("1", "true", "yes", "y", "t", "on")  # as Accelerate reads its variables
_BF16_SINCE = (8, 0)  # A100 and newer compute in bf16; V100 (7.0) and T4 (7.5) in fp16 only


@dataclass(frozen=True)
class Hardware:
    """What the choice depends on.

    Attributes:
        capability: of the GPU, e.g. (7, 0) for a V100.
        archs: what this build of PyTorch has GPU kernels for, as `torch.cuda.get_arch_list` says.
        cpu_bf16: whether the processor multiplies in bf16.
        name: the GPU's; of a processor, the instructions PyTorch's kernels use on it.
    """

    device: Literal["cuda", "cpu"]
    capability: tuple[int, int] = (0, 0)
    archs: tuple[str, ...] = ()
    cpu_bf16: bool = False
    name: str = ""


def uses_cuda() -> bool:
    """Whether a run that started here would compute on a GPU: there is one, and the launcher was not told --cpu."""
    return torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in _YES


def hardware(device: torch.device | None = None) -> Hardware:
    """Look at this machine.

    Args:
        device: what is computed on; what a run that started here would use, unless given.
    """
    if (device.type == "cuda") if device is not None else uses_cuda():
        capability = torch.cuda.get_device_capability(device)
        return Hardware("cuda", capability, tuple(torch.cuda.get_arch_list()), name=torch.cuda.get_device_name(device))
    return Hardware("cpu", cpu_bf16=_cpu_has_bf16(), name=f"CPU, {torch.backends.cpu.get_cpu_capability()}")


def choose_precision(asked: AskedPrecision, machine: Hardware) -> Precision:
    """Choose the format to train in.

    `auto` is bf16 on GPUs of compute capability 8.0 and newer, fp16 with gradient scaling on older ones, and on
    CPUs bf16 where the processor computes in it, else fp32. `fp64` is for verification: sums in another order then
    agree to 1e-13 or so.

    Raises:
        ConfigError: the format does not exist on this device, or PyTorch has no kernels for it.
    """
    where = "engine.precision"
    if machine.device == "cpu":
        if asked == "fp16":
            raise ConfigError("fp16 needs a GPU", where=where, fix="use fp32 or bf16 on CPUs")
        if asked == "auto":
            return "bf16" if machine.cpu_bf16 else "fp32"
        return asked
    major, minor = machine.capability
    if not has_kernels(machine.capability, machine.archs):
        raise ConfigError(
            f"this PyTorch has no kernels for the GPU, sm_{major}{minor}; it has {', '.join(machine.archs)}",
            fix="install a build with them: for a V100 one for CUDA 12.6 or older",
        )
    if asked == "bf16" and machine.capability < _BF16_SINCE:
        raise ConfigError(f"bf16 does not exist on sm_{major}{minor}", where=where, fix="use fp16 or auto")
    if asked == "auto":
        return "bf16" if machine.capability >= _BF16_SINCE else "fp16"
    return asked


def has_kernels(capability: tuple[int, int], archs: tuple[str, ...]) -> bool:
    """Whether code compiled for `archs` runs on a GPU of that capability.

    Machine code (sm_XY) runs on the same major version from its minor one up, intermediate code (compute_XY) on
    everything newer. A list without either (another vendor's) is taken to fit.
    """
    major, minor = capability
    found = [match for arch in archs if (match := re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch))]
    for match in found:
        kind, of = match[1], (int(match[2]), int(match[3]))
        exact = match[4] == "a"  # architecture-specific code runs nowhere else
        newer = of[0] == major and of[1] <= minor if kind == "sm" else of <= capability
        if of == capability if exact else newer:
            return True
    return not found


def wide(x: Tensor) -> Tensor:
    """Return half precision as float32, the rest as it is: what losses, norms and probabilities are computed in."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _cpu_has_bf16() -> bool:
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
            return "avx512_bf16" in cpuinfo.read()
    except OSError:
        return False
