"""Is the world the one that was asked for? Two launchers' habits make it smaller without a word."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch.distributed as dist

from cirn_dist.errors import ConfigError

_OTHER_ENGINES = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_MEGATRON_LM")
_ADVICE = "on CPUs start ranks with torchrun, or accelerate launch --config_file launch/accelerate/cpu_2.yaml"


def assert_world(seen: int, asked: int | None = None) -> None:
    """Compare what was asked for, what the launcher started, what Accelerate sees and what the process group has.

    Args:
        seen: Accelerate's number of processes.
        asked: `engine.ranks`, or None where the configuration does not say.

    Raises:
        ConfigError: two of them differ.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    grouped = dist.get_world_size() if dist.is_initialized() else 1
    if not started == seen == grouped:
        raise ConfigError(
            f"the launcher started {started} ranks, Accelerate sees {seen}, the process group has {grouped}",
            fix=_ADVICE,
        )
    if asked is not None and asked != started:
        raise ConfigError(f"{asked} ranks were asked for, {started} started", where="engine.ranks", fix=_ADVICE)
    if asked is None and started_alone(os.environ):
        raise ConfigError(
            "accelerate launch was asked for several ranks and started one", fix=f"{_ADVICE}; engine.ranks=1 means one"
        )


def assert_no_other_engine(environment: Mapping[str, str]) -> None:
    """Check that the launcher was not told of an engine that this one would pass over in silence.

    Raises:
        ConfigError: `accelerate launch` was given --use_deepspeed, --use_fsdp or the like.
    """
    told = [name for name in _OTHER_ENGINES if environment.get(name, "").lower() in ("1", "true", "yes", "on")]
    if told:
        raise ConfigError(
            f"the launcher asks for another engine ({', '.join(told)})",
            fix="launch without it; engine.backend=deepspeed shards optimizer states",
        )


def assert_a_gpu_each(environment: Mapping[str, str], gpus: int) -> None:
    """Check that this machine shows a GPU to each of its ranks; NCCL takes no two ranks on one.

    Args:
        gpus: that this process sees.

    Raises:
        ConfigError: the launcher started more ranks here.
    """
    ranks = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    if ranks > gpus:
        raise ConfigError(
            f"{ranks} ranks were started on a machine that shows them {gpus} GPU{'s' * (gpus != 1)}",
            fix=f"start {gpus}, set CUDA_VISIBLE_DEVICES to more GPUs, or compute on the CPU: ACCELERATE_USE_CPU=true",
        )


def started_alone(environment: Mapping[str, str]) -> bool:
    """Whether `accelerate launch` was told of several processes, and started this one alone.

    `accelerate launch --cpu --num_processes 2` starts one process without a word. It sets ACCELERATE_MIXED_PRECISION
    always, MASTER_PORT only where several processes were asked for, and WORLD_SIZE only where several are started.
    """
    return "ACCELERATE_MIXED_PRECISION" in environment and (
        "MASTER_PORT" in environment and "WORLD_SIZE" not in environment
    )
