"""How a process becomes a rank: it finds its launcher, its device and the other ranks."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState

from cirn_dist.choices import AskedPrecision, Backend, CompileMode
from cirn_dist.engine.arithmetic import choose_kernels, keep_host_memory
from cirn_dist.engine.runtime import START_TIMEOUT, Runtime
from cirn_dist.engine.tasks import assert_ranks, ranks_of_tasks
from cirn_dist.engine.watchdog import HANG, record_collectives
from cirn_dist.engine.world import assert_a_gpu_each, assert_no_other_engine, assert_world
from cirn_dist.precision import choose_precision, hardware, uses_cuda


def join(
    precision: AskedPrecision = "auto",
    *,
    ranks: int | None = None,
    folder: Path | None = None,
    start_timeout: float = START_TIMEOUT,
    backend: Backend = "ddp",
    zero_stage: int = 1,
    deterministic: bool = False,
    tf32: bool = False,
    compile_mode: CompileMode | None = None,
    time_reductions: bool = False,
) -> Runtime:
    """Meet the other ranks, under `accelerate launch`, torchrun, srun, mpirun or as one plain process.

    Called once in a process; the arguments that are not here are `Runtime`'s.

    Args:
        precision: what was asked for; `auto` leaves it to the launcher's setting, then to the hardware.
        ranks: how many there must be; None takes the launcher's word.
        deterministic: whether the same step has the same bits each time; on a GPU exact sums ask for it too.
        tf32: whether convolutions of float32 may round what they multiply to 10 bits.

    Raises:
        ConfigError: the world is not the one that was asked for, there are fewer GPUs, or the precision does not
            exist on this device.
    """
    assert_no_other_engine(os.environ)
    if ranks != 1:
        os.environ.update(ranks_of_tasks(os.environ))
    assert_ranks(os.environ)
    if uses_cuda():
        assert_a_gpu_each(os.environ, torch.cuda.device_count())
    if folder is not None:
        record_collectives(folder / HANG)  # read from the environment when the process group is made
    deterministic = deterministic or (backend == "exact" and uses_cuda())
    choose_kernels(deterministic=deterministic, tf32=tf32)
    keep_host_memory()
    # Device and process group alone: an Accelerator would keep every network it prepares until the process ends.
    state = PartialState(cpu=not uses_cuda(), timeout=timedelta(seconds=start_timeout))
    runtime = Runtime(
        state.device,
        choose_precision(_or_launchers(precision), hardware(state.device)),
        rank=state.process_index,
        world=state.num_processes,
        backend=backend,
        zero_stage=zero_stage,
        deterministic=deterministic,
        compile_mode=compile_mode,
        folder=folder,
        start_timeout=start_timeout,
        time_reductions=time_reductions,
    )
    assert_world(runtime.world, ranks)
    return runtime


def _or_launchers(precision: AskedPrecision) -> AskedPrecision:
    """Return what was asked for; where that is `auto`, a half precision that the launcher was told of."""
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "auto" or told not in ("fp16", "bf16"):
        return precision
    return "fp16" if told == "fp16" else "bf16"
