"""One process of a run: its device, precision, rank and world size, the collectives, and a clean exit."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cirn_dist.choices import Backend, CompileMode, Precision
from cirn_dist.engine.collect import assert_no_tensors, tensors_on_main
from cirn_dist.engine.reductions import all_reduce, in_rank_order
from cirn_dist.engine.traffic import Traffic
from cirn_dist.engine.watchdog import HANG, Watchdog
from cirn_dist.errors import CirnError
from cirn_dist.precision import HALF

T = TypeVar("T")

START_TIMEOUT = 1800.0  # seconds; ranks of a cluster reach the first collective minutes apart
WORK_TIMEOUT = 86400.0  # seconds others wait for what rank 0 does alone, e.g. packing a data set


class Engine(Protocol):
    """What sums a player's gradients and must be taken apart when the player's stage ends."""

    def destroy(self) -> None:
        """Remove what it has hung on the networks."""


class Runtime:
    """One rank's view of the run: device, precision, rank, world, and the collectives stages need.

    `join` builds it from the launcher; by itself it is one rank alone, for estimates.

    Args:
        precision: what it computes in.
        backend: who sums gradients over ranks, for all players.
        zero_stage: DeepSpeed's, where it is the backend.
        deterministic: whether the same step has the same bits each time.
        compile_mode: torch.compile's, for the networks that are trained; None leaves them as they are.
        folder: the run's; traces of a hang are written in its `hang/`.
        start_timeout: seconds a collective may take while the ranks start.
        time_reductions: whether `traffic` measures what the gradients' all-reduces cost.
    """

    def __init__(
        self,
        device: torch.device,
        precision: Precision,
        *,
        rank: int = 0,
        world: int = 1,
        backend: Backend = "ddp",
        zero_stage: int = 1,
        deterministic: bool = False,
        compile_mode: CompileMode | None = None,
        folder: Path | None = None,
        start_timeout: float = START_TIMEOUT,
        time_reductions: bool = False,
    ) -> None:
        self.device, self.precision, self.rank, self.world = device, precision, rank, world
        self.backend, self.zero_stage, self.deterministic = backend, zero_stage, deterministic
        self.compile_mode = compile_mode
        self.dtype = torch.float64 if precision == "fp64" else torch.float32
        # Two numbers have one sum; of more, the order decides the last digit.
        self.ordered = world > 2 and (deterministic or device.type == "cpu")
        self.traffic = Traffic(device, in_rank_order if self.ordered else all_reduce) if time_reductions else None
        self.engines: list[Engine] = []
        self.start_timeout = self._timeout = start_timeout
        self.watchdog = Watchdog(rank, world, None if folder is None else folder / HANG)

    @property
    def main(self) -> bool:
        """Whether this rank prints and writes what only one rank may write."""
        return self.rank == 0

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Return the mixed-precision context of a forward pass."""
        half = HALF.get(self.precision)
        return contextlib.nullcontext() if half is None else torch.autocast(self.device.type, half)

    def distribute(self, module: nn.Module) -> nn.Module:
        """Wrap a module that is on the device in DDP; with one rank it is returned as it is."""
        wrapped: nn.Module = module
        if self.world > 1:
            wrapped = DistributedDataParallel(
                module,
                device_ids=[self.device] if self.device.type == "cuda" else None,
                # Buffers are norm statistics; a broadcast between two forwards would overwrite what backward needs.
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )
            if self.ordered and self.traffic is None:
                wrapped.register_comm_hook(None, lambda _, bucket: in_rank_order(bucket.buffer()))
        if self.traffic is not None:
            self.traffic.watch(wrapped)
        return wrapped

    def release(self) -> None:
        """Give back the memory of a stage that has ended; its players are of no use afterwards.

        DDP, DeepSpeed and autograd hold networks in cycles of references, which count as garbage only when looked for.
        """
        while self.engines:
            self.engines.pop().destroy()
        if self.compile_mode is not None:  # it compiles a function a few times only, networks of past stages included
            torch.compiler.reset()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def allow(self, seconds: float | None) -> None:
        """Say how long what comes next may take, here and in collectives; told again, it counts from now.

        A rank that takes longer writes its stacks and ends; ranks waiting for it end as well. None is the start's
        long timeout for collectives and no limit for this rank's own work.
        """
        self._limit_collectives(self.start_timeout if seconds is None else seconds)
        self.watchdog.allow(seconds)

    def _limit_collectives(self, seconds: float) -> None:
        if self.world > 1 and seconds != self._timeout:
            _set_timeout(timedelta(seconds=seconds))
            self._timeout = seconds

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            PartialState().wait_for_everyone()

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over ranks; the tensor itself with one rank."""
        if self.world > 1:
            tensor = tensor.to(self.device)
            dist.all_reduce(tensor)
        return tensor

    def gather(self, item: T) -> list[T]:
        """Return every rank's item, in rank order, on every rank.

        Raises:
            TypeError: it holds a tensor.
        """
        assert_no_tensors(item)
        if self.world == 1:
            return [item]
        items: list[T | None] = [None] * self.world
        dist.all_gather_object(items, item)
        return items  # type: ignore[return-value]

    def tensors_on_main(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Return all ranks' named tensors on rank 0 and None elsewhere; with several ranks, in host memory.

        Args:
            tensors: this rank's; a name is on one rank only.
        """
        return dict(tensors) if self.world == 1 else tensors_on_main(tensors, self.rank, self.device)

    def on_main(self, work: Callable[[], T], *, timeout: float | None = None) -> T:
        """Run `work` on rank 0 and return its result everywhere; an expected error is raised on every rank.

        Other ranks wait; without the shared error they would wait for a rank that has already left.

        Args:
            timeout: seconds they wait at most; the start's timeout by default.
        """
        outcome: tuple[T | None, CirnError | None] = (None, None)
        if self.main:
            try:
                outcome = (work(), None)
            except CirnError as error:
                outcome = (None, error)
        usual = self._timeout
        self._limit_collectives(self.start_timeout if timeout is None else timeout)
        result, failure = self.gather(outcome)[0]
        self._limit_collectives(usual)
        if failure is not None:
            raise failure.on_all_ranks()
        return result  # type: ignore[return-value]

    def leave(self, code: int) -> None:
        """End this process once all ranks are here.

        Gloo's threads can abort an interpreter that is shutting down although all work is done, and a launcher
        then reports a failure; with several ranks the process therefore ends without running exit handlers.
        """
        self.watchdog.close()
        if self.world == 1:
            sys.exit(code)
        if code == 0:
            self.barrier()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def lost_contact(error: RuntimeError) -> str | None:
    """Return what a failed collective means, or None where the error is no collective's.

    Torch has no type for it: gloo's errors are plain RuntimeErrors, NCCL's a DistBackendError.
    """
    text = str(error)
    if not isinstance(error, dist.DistError) and "gloo" not in text.lower():
        return None
    if "Timed out" in text or "timeout" in text.lower():
        return "another rank did not answer in time"
    return "another rank has left"


def _set_timeout(limit: timedelta) -> None:
    if hasattr(dist, "set_timeout"):
        dist.set_timeout(limit)
    else:  # before torch 2.14
        dist.distributed_c10d._set_pg_timeout(limit)


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
