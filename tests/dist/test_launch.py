"""Every file of launch/accelerate is read as accelerate reads it; those for CPUs are run. A wrong world is refused."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env
from conftest import Command
from launching import FAULTY, ROOT, finish, free_port, launch, own_command, start_launcher

from cirn_dist.checkpoint.store import Store
from cirn_dist.engine.world import assert_a_gpu_each, assert_no_other_engine, started_alone
from cirn_dist.errors import ConfigError

FILES = sorted((ROOT / "launch/accelerate").glob("*.yaml"))
STAGE = ("--until", "source", "source.iterations=16", "engine.checkpoint_every=4", "controls=false")
C10D = ("--rdzv_backend", "c10d", "--max_restarts", "3")


def as_accelerate_reads(file: Path, *options: str) -> tuple[Any, dict[str, str]]:
    """Return the launcher's arguments and what it adds to the environment of the ranks."""
    command = ["--config_file", str(file), *options, "-m", "cirn_dist", "demo"]
    arguments = launch_command_parser().parse_args(command)
    arguments, *_ = _validate_launch_command(arguments)
    several = arguments.multi_gpu
    environment = prepare_multi_gpu_env(arguments) if several else prepare_simple_launcher_cmd_env(arguments)[1]
    return arguments, environment


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_accelerate_knows_every_key(file: Path) -> None:
    loaded = load_config_from_file(str(file))
    assert loaded.compute_environment.value == "LOCAL_MACHINE"
    assert {"cpu", "cpu_2", "gpu", "node", "nodes", "v100", "a100"} == {file.stem for file in FILES}


@pytest.mark.parametrize(
    ("name", "ranks", "precision"),
    [
        ("cpu", None, "no"), ("cpu_2", "2", "no"), ("gpu", None, "no"), ("node", "4", "no"),
        ("v100", "8", "fp16"), ("a100", "8", "bf16"),
    ],
)  # fmt: skip
def test_what_a_file_starts(name: str, ranks: str | None, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    arguments, environment = as_accelerate_reads(ROOT / f"launch/accelerate/{name}.yaml")
    assert getattr(arguments, "nproc_per_node", None) == ranks, "ranks of this machine"
    assert environment["ACCELERATE_MIXED_PRECISION"] == precision, "engine.precision=auto takes it from here"
    assert not started_alone(environment) or ranks is not None


def test_several_machines_meet_by_c10d() -> None:
    options = ("--machine_rank", "1", "--main_process_ip", "node0", *C10D)
    arguments, _ = as_accelerate_reads(ROOT / "launch/accelerate/nodes.yaml", *options)
    assert (arguments.nnodes, arguments.nproc_per_node, arguments.node_rank) == ("2", "4", 1)
    assert (arguments.rdzv_backend, arguments.rdzv_endpoint, arguments.max_restarts) == ("c10d", "node0:29400", 3)
    without, _ = as_accelerate_reads(ROOT / "launch/accelerate/nodes.yaml", "--machine_rank", "1")
    assert without.rdzv_backend == "static", "why the file's header asks for --rdzv_backend on the command line"


def test_several_processes_on_cpus_that_became_one_are_refused(mini: Path, tmp_path: Path) -> None:
    arguments = ("run", mini, "--out", tmp_path / "run")
    done = finish(
        start_launcher("accelerate.commands.launch", "--cpu", "--num_processes", 2, *own_command(*arguments))
    )
    assert done.returncode != 0
    assert "accelerate launch was asked for several ranks and started one" in done.stderr
    assert "launch/accelerate/cpu_2.yaml" in done.stderr
    assert not (tmp_path / "run").exists(), "before anything is written"


def test_an_engine_that_the_launcher_asks_for_is_refused_by_name() -> None:
    assert_no_other_engine({"ACCELERATE_USE_FSDP": "false", "ACCELERATE_USE_CPU": "true"})
    for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"):
        with pytest.raises(ConfigError, match=rf"asks for another engine \({name}\); launch without it"):
            assert_no_other_engine({name: "true"})


def test_a_machine_with_fewer_gpus_than_ranks_is_named() -> None:
    assert_a_gpu_each({}, 1)
    assert_a_gpu_each({"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, 4)
    with pytest.raises(ConfigError, match="2 ranks were started on a machine that shows them 1 GPU;"):
        assert_a_gpu_each({"LOCAL_WORLD_SIZE": "2"}, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "settings", "told"),
    [
        ("bf16", ("engine.precision=auto",), "engine.precision is 'fp32' on rank 0, 'bf16' there"),
        ("bf16", ("render.precision=auto",), "render.precision is 'fp32' on rank 0, 'bf16' there"),
        ("model", ("engine.backend=exact",), "model is 'CPU, AVX512' on rank 0, 'CPU, AVX2' there"),
    ],
)
def test_ranks_that_would_compute_otherwise_are_named_and_refused(
    other: str, settings: tuple[str, ...], told: str, mini: Path, tmp_path: Path
) -> None:
    script, out = Path(__file__).with_name("other_machine.py"), tmp_path / "run"
    done = launch(2, "run", mini, *settings, "--out", out, script=script, launcher="torchrun", OTHER=other)
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if "cirn-dist: " in line)
    assert f"rank 1 differs in what it computes on: {told}" in line
    assert "use one kind of device" in line
    assert not out.exists(), "before anything is written"


@pytest.mark.slow
def test_ranks_of_one_precision_may_be_of_two_models(mini: Path, tmp_path: Path) -> None:
    script, out = Path(__file__).with_name("other_machine.py"), tmp_path / "run"
    done = launch(2, "run", mini, *STAGE, "--out", out, script=script, launcher="torchrun", OTHER="model")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ranks compute on CPU, AVX2 and CPU, AVX512" in " ".join(done.stderr.split())


def test_what_no_rank_can_render_in_is_refused_before_anything_is_written(
    mini: Path, cirn_dist: Command, tmp_path: Path
) -> None:
    done = cirn_dist("run", mini, "render.precision=fp16", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert "fp16 needs a GPU" in done.stderr
    assert not (tmp_path / "run").exists()


def test_fewer_ranks_than_the_configuration_asks_for_are_refused(mini: Path, tmp_path: Path) -> None:
    file = ROOT / "launch/accelerate/cpu.yaml"
    arguments = ("run", mini, "--out", tmp_path / "run", "engine.ranks=2")
    done = finish(start_launcher("accelerate.commands.launch", "--config_file", file, *own_command(*arguments)))
    assert done.returncode != 0
    assert "engine.ranks: 2 ranks were asked for, 1 started" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_file_for_two_cpu_ranks_starts_two(mini: Path, tmp_path: Path) -> None:
    file = ROOT / "launch/accelerate/cpu_2.yaml"
    arguments = ("run", mini, "--out", tmp_path / "run", "engine.ranks=2", "engine.lr_scaling=auto", *STAGE)
    command = own_command(*arguments, cold=True)
    done = finish(start_launcher("accelerate.commands.launch", "--config_file", file, *command, cold=True))
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["ranks"] == 2
    assert (facts["images_per_step"], facts["lr_scaling"]) == (4, "auto")
    assert facts["lr_factor"] == {"sgd": 4.0, "adam": 2.0, "adamw": 2.0}
    assert not (tmp_path / "run/hang").exists(), "traces are of hangs alone"


def two_machines(
    mini: Path, out: Path, restarts: int, own: Sequence[Sequence[str]] = ((), ()), **variables: object
) -> list[subprocess.CompletedProcess[str]]:
    """Start one launcher for each of two machines, as far as one machine can be two, and let both end."""
    file, port = ROOT / "launch/accelerate/nodes.yaml", free_port()
    rendezvous = ("--rdzv_backend", "c10d", "--max_restarts", restarts, "--main_process_port", port)
    launchers = []
    try:
        for rank in (0, 1):
            options = ("--config_file", file, *rendezvous, "--num_processes", 2, "--machine_rank", rank)
            command = own_command("run", mini, "--out", out, *STAGE, *own[rank], script=FAULTY, cold=True)
            launchers.append(start_launcher("accelerate.commands.launch", *options, *command, cold=True, **variables))
            deadline = time.monotonic() + 120
            with socket.socket() as probe:  # the first machine holds the store that all meet at
                while rank == 0 and probe.connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
                    time.sleep(0.1)
        return [finish(launcher, timeout=400) for launcher in launchers]
    finally:
        for launcher in launchers:
            launcher.kill()


@pytest.mark.slow
def test_two_machines_start_again_when_one_loses_its_rank(mini: Path, tmp_path: Path) -> None:
    """c10d over 127.0.0.1: rank 1 is killed in step 2 of the first attempt, the second goes on from a checkpoint."""
    out = tmp_path / "run"
    # A rank that is looking for the others takes note of SIGTERM but does not end by it: a launcher that starts its
    # ranks again waits that long for them.
    patience = {"PET_SHUTDOWN_TIMEOUT": 15}
    done = two_machines(mini, out, 3, FAULT="kill:1:2", RECORD=tmp_path, **patience)
    assert [launcher.returncode for launcher in done] == [0, 0], done[0].stderr[-3000:] + done[1].stderr[-3000:]
    newest = Store(out / "source/checkpoints").latest()
    assert newest is not None
    assert (newest.state["finished"], newest.state["world"]) == (True, 2)
    lines = (tmp_path / "rank-1.txt").read_text().splitlines()
    steps = [int(line.split()[1]) // 4 for line in lines[::2]]  # two images a step
    assert steps[:2] == [0, 1]
    assert steps[2] in (1, 2), "from the newest checkpoint that was whole, not from the start"
    assert steps[-1] == 3


@pytest.mark.slow
def test_machines_that_were_started_differently_are_told(mini: Path, tmp_path: Path) -> None:
    done = two_machines(mini, tmp_path / "run", 0, ((), ("source.lr=0.5",)))
    assert all(launcher.returncode != 0 for launcher in done)
    told = "rank 1 differs in its start: source.lr is 0.001 on rank 0, 0.5 there"
    assert told in done[0].stderr
    assert not (tmp_path / "run").exists(), "before anything is written"
