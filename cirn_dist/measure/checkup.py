"""Whether a run of a configuration would get through here: what it reads, where it writes, its ranks, its memory."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from cirn_dist.chain import stages
from cirn_dist.choices import AskedPrecision, Precision
from cirn_dist.config.schema import Config
from cirn_dist.data.loading.plan import Plan
from cirn_dist.data.run_sets.label_space import settled
from cirn_dist.errors import CirnError, ConfigError
from cirn_dist.inputs import check_inputs, to_download
from cirn_dist.measure.doctor import existing
from cirn_dist.measure.findings import Finding, Footprint
from cirn_dist.measure.footprint import footprints
from cirn_dist.precision import choose_precision, hardware

_PROBE = 64 * 2**20  # bytes written to measure a file system
_MANY = 10_000  # iterations of a ResNet that nobody waits for on a CPU
_INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "CIRN_INTERFACE")


def check_run(config: Config, run: Path, asked: AskedPrecision) -> tuple[Precision, list[Footprint], list[Finding]]:
    """Look at everything a run of a configuration needs here; returns its precision and each stage's memory with it.

    Args:
        run: its folder, which need not be there.
        asked: the precision to estimate for; a laptop may be asked about a GPU's fp16, since nothing is computed.
    """
    machine = hardware()
    elsewhere = asked == "fp16" and machine.device == "cpu"
    chosen: Precision = "fp16" if elsewhere else choose_precision(asked, machine)
    free, total = gpu_memory()  # before the estimate takes some
    estimates = footprints(config, chosen, machine.device)
    world = world_of(os.environ, torch.cuda.device_count() if machine.device == "cuda" else 0)
    place = existing(run)
    found = [
        effort(config, machine.device),
        inputs(config, run),
        ranks(config, world),
        file_system(run),
        room(config, estimates, shutil.disk_usage(place).free),
    ]
    if total:
        found.append(memory(estimates, free, total))
    if (named := network(os.environ, [one for _, one in socket.if_nameindex()])) is not None:
        found.append(named)
    return chosen, estimates, found


def gpu_memory() -> tuple[int, int]:
    """Return the free and the whole memory of the GPU that a run would use, in bytes; 0, 0 without one."""
    return torch.cuda.mem_get_info() if hardware().device == "cuda" else (0, 0)


def inputs(config: Config, run: Path) -> Finding:
    """Look at everything a run reads, as `run --dry-run` does.

    Args:
        run: its folder.
    """
    try:
        check_inputs(settled(config), run, download=False)
        missing = to_download(config, run)
    except CirnError as error:
        return Finding("Inputs", "a run would be refused", str(error), broken=True)
    if missing is not None:
        advice = f"a run downloads {missing.name} first; without a network, cirn-dist fetch where there is one"
        return Finding("Inputs", "all there but the ImageNet weights", advice)
    return Finding("Inputs", "folders, recipes, labels and weights are there")


def ranks(config: Config, world: int) -> Finding:
    """Compare a number of ranks with the images of a step."""
    engine = config.engine
    found = f"{world}, of {engine.images_per_step} images per step in micro-batches of {engine.micro_batch}"
    if engine.ranks not in (None, world):
        advice = f"engine.ranks={engine.ranks} asks for another number: a run would be refused"
        return Finding("Ranks", found, advice, broken=True)
    try:
        Plan(engine.images_per_step, world, micro_batch=engine.micro_batch)
    except ConfigError as error:
        return Finding("Ranks", found, str(error), broken=True)
    return Finding("Ranks", found)


def world_of(environment: Mapping[str, str], gpus: int) -> int:
    """Return how many ranks a run would have: what a launcher has said, or one for each GPU, or one."""
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        if environment.get(name, "").isdigit():
            return int(environment[name])
    return max(1, gpus)


def file_system(folder: Path) -> Finding:
    """Try what a run does where it writes: a file that is synced and renamed, a hard link, and how fast writing is.

    Args:
        folder: of runs; made by a run, so that the nearest one that is there is tried.
    """
    place = existing(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".cirn-doctor-", dir=place) as scratch:
            speed = _written(Path(scratch) / "probe")
            try:
                os.link(Path(scratch) / "probe", Path(scratch) / "link")
                links = ""
            except OSError:
                links = "no hard links: two starts in one folder at the same moment are told apart less surely"
    except OSError as error:
        return Finding("File system", str(place), f"cannot be written: {error.strerror}", broken=True)
    return Finding("File system", f"{speed / 2**20:,.0f} MiB/s written and synced in {place}", links)


def _written(file: Path) -> float:
    """Write and sync a file under another name, and rename it; returns bytes per second."""
    chunk = os.urandom(2**20)
    began = time.perf_counter()
    with file.with_suffix(".partial").open("wb") as out:
        for _ in range(_PROBE // len(chunk)):
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    file.with_suffix(".partial").replace(file)
    return _PROBE / (time.perf_counter() - began)


def room(config: Config, footprints: Sequence[Footprint], free: int) -> Finding:
    """Compare what a run keeps of its stages with the free disk, in bytes.

    Each stage keeps `engine.keep` checkpoints, the best one, and one more while it is written.
    """
    needed = (config.engine.keep + 2) * sum(one.parameters + one.optimizer for one in footprints)
    found = f"at most {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free"
    advice = "free some space, keep fewer (engine.keep), or choose another folder" if needed > free else ""
    return Finding("Checkpoints", found, advice, broken=needed > free)


def memory(footprints: Sequence[Footprint], free: int, total: int) -> Finding:
    """Compare each stage's peak with a GPU's memory, in bytes."""
    peak = max(footprints, key=lambda one: one.total)
    found = f"{peak.stage} needs {peak.total / 2**30:.1f} GiB; {free / 2**30:.1f} of {total / 2**30:.1f} GiB are free"
    if peak.total > total:
        advice = "take smaller crops, a smaller micro_batch, or translate.checkpoint_activations=true"
        return Finding("GPU memory", found, advice, broken=True)
    return Finding("GPU memory", found, "another process holds the rest" if peak.total > free else "")


def network(environment: Mapping[str, str], interfaces: Collection[str]) -> Finding | None:
    """Compare the interfaces that variables name with those there are; None where none is named.

    NCCL takes a list, prefixes, `=` for exact names and `^` for what is not to be used.
    """
    named = {name: environment[name] for name in _INTERFACES if environment.get(name)}
    if not named:
        return None
    found = ", ".join(f"{name}={value}" for name, value in named.items())
    for name, value in named.items():
        if value.startswith("^"):
            continue
        exact, words = value.startswith("=") or name != "NCCL_SOCKET_IFNAME", value.removeprefix("=").split(",")
        if not any(one == word or (not exact and one.startswith(word)) for word in words for one in interfaces):
            advice = f"{name} names no interface of this machine: {', '.join(sorted(interfaces))}"
            return Finding("Network", found, advice, broken=True)
    return Finding("Network", found)


def effort(config: Config, device: str) -> Finding:
    """Say how long the training is, and that a ResNet's is not for a CPU."""
    total = sum(stage.iterations or 0 for stage in stages(config))
    found = f"{total:,} iterations in all, {config.model.backbone}"
    hopeless = device == "cpu" and config.model.backbone.startswith("resnet") and total > _MANY
    return Finding("Training", found, "without a GPU that takes weeks to months" if hopeless else "")
