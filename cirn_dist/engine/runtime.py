"""Who am I among the ranks: device, precision, collectives, and a clean way out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor, nn

from cirn_dist.errors import CirnError, ConfigError

Precision = Literal["fp32", "bf16", "fp16"]
T = TypeVar("T")


class Runtime:
    """One rank's view of the run: device, precision, rank, world, and the collectives stages need.

    Built once per process, under `accelerate launch`, torchrun, srun or as one plain process.

    Raises:
        ConfigError: the world is not the one that was asked for, or the precision does not exist on this device.
    """

    def __init__(self, precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto", *, backbone: str = "") -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available():
            # Without it Accelerate sees no device and believes in a world of one while torch has several ranks.
            os.environ["ACCELERATE_USE_CPU"] = "true"
        self.precision: Precision = resolve_precision(precision, backbone)
        mixed = "no" if self.precision == "fp32" else self.precision
        self.accelerator = Accelerator(
            mixed_precision=mixed,
            kwargs_handlers=[
                InitProcessGroupKwargs(timeout=timedelta(minutes=30)),
                # Buffers are norm statistics; a broadcast between two forwards would overwrite what backward needs.
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            ],
        )
        self.device: torch.device = self.accelerator.device
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self._assert_world()

    def _assert_world(self) -> None:
        asked = int(os.environ.get("WORLD_SIZE", "1"))
        grouped = dist.get_world_size() if dist.is_initialized() else 1
        if not asked == self.world == grouped:
            raise ConfigError(
                f"the launcher asked for {asked} ranks, Accelerate sees {self.world}, the process group has {grouped}",
                fix="on CPUs start ranks with torchrun, or ACCELERATE_USE_CPU=true accelerate launch --multi_gpu",
            )

    @property
    def main(self) -> bool:
        """Whether this rank prints and writes what only one rank may write."""
        return self.rank == 0

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Return the mixed-precision context of a forward pass."""
        context: contextlib.AbstractContextManager[None] = self.accelerator.autocast()
        return context

    def distribute(self, module: nn.Module) -> nn.Module:
        """Move a module to the device and, with more than one rank, wrap it in DDP."""
        prepared: nn.Module = self.accelerator.prepare_model(module)
        return prepared

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.accelerator.wait_for_everyone()

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over ranks; the tensor itself with one rank."""
        if self.world > 1:
            tensor = tensor.to(self.device)
            dist.all_reduce(tensor)
        return tensor

    def gather(self, item: T) -> list[T]:
        """Return every rank's item, in rank order, on every rank."""
        if self.world == 1:
            return [item]
        items: list[T | None] = [None] * self.world
        dist.all_gather_object(items, item)
        return items  # type: ignore[return-value]

    def on_main(self, work: Callable[[], T]) -> T:
        """Run `work` on rank 0 and return its result everywhere; an expected error is raised on every rank.

        Other ranks wait; without the shared error they would wait for a rank that has already left.
        """
        outcome: tuple[T | None, CirnError | None] = (None, None)
        if self.main:
            try:
                outcome = (work(), None)
            except CirnError as error:
                outcome = (None, error)
        result, failure = self.gather(outcome)[0]
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]

    def leave(self, code: int) -> None:
        """End this process once all ranks are here.

        Gloo's threads can abort an interpreter that is shutting down although all work is done, and a launcher
        then reports a failure; with several ranks the process therefore ends without running exit handlers.
        """
        if self.world == 1:
            sys.exit(code)
        if code == 0:
            self.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def resolve_precision(asked: Literal["auto", "fp32", "bf16", "fp16"], backbone: str = "") -> Precision:
    """Choose the precision for this machine.

    `auto` is bf16 on GPUs of compute capability 8.0 and newer, fp16 with gradient scaling on older ones, and on
    CPUs bf16 where the processor computes in it, else fp32. Dilated depthwise convolutions (mobilenet_v2) give
    non-finite weight gradients in bf16 on CPUs, so `auto` keeps that backbone in fp32 there.

    Raises:
        ConfigError: fp16 without a GPU.
    """
    if torch.cuda.is_available():
        if asked == "auto":
            return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
        return asked
    if asked == "fp16":
        raise ConfigError("fp16 needs a GPU", where="engine.precision", fix="use fp32 or bf16 on CPUs")
    if asked == "auto":
        hardware = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and _has_bf16()
        return "bf16" if hardware and backbone != "mobilenet_v2" else "fp32"
    return asked


def _has_bf16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
            return "avx512_bf16" in cpuinfo.read()
    except OSError:
        return False


@contextlib.contextmanager
def frozen(modules: list[nn.Module]) -> Iterator[None]:
    """Stop gradients to the modules' parameters; those that were trainable are trainable again afterwards."""
    trainable = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
