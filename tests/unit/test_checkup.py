"""Each thing that the doctor looks at for a run, made to fail; and its exit code and JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import Command

from cirn_dist.config.load import load
from cirn_dist.measure.checkup import effort, file_system, inputs, memory, network, ranks, room, world_of
from cirn_dist.measure.doctor import precision
from cirn_dist.measure.findings import Footprint
from cirn_dist.precision import Hardware

GIB = 2**30
PAPER = load("gta5_cityscapes")


def footprint(stage: str, peak: float) -> Footprint:
    return Footprint(stage, "1280x720", int(0.2 * GIB), int(0.1 * GIB), int(0.2 * GIB), int(peak * GIB), measured=True)


def test_ranks_that_do_not_divide_a_step_are_named() -> None:
    eight = load("gta5_cityscapes", ["engine.images_per_step=8", "engine.micro_batch=2"])
    assert not ranks(eight, 4).broken
    found = ranks(eight, 3)
    assert found.broken
    assert "worlds that do: 1, 2, 4" in found.advice
    assert ranks(load("gta5_cityscapes", ["engine.ranks=2"]), 1).broken


def test_the_ranks_are_the_launchers_or_one_for_each_gpu() -> None:
    assert world_of({}, 0) == 1
    assert world_of({}, 4) == 4
    assert world_of({"WORLD_SIZE": "16"}, 4) == 16
    assert world_of({"SLURM_STEP_NUM_TASKS": "8"}, 4) == 8


def test_a_folder_is_tried_as_a_run_uses_it_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = file_system(tmp_path / "runs/demo")
    assert not found.advice
    assert "MiB/s written and synced" in found.found

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        assert "no hard links" in file_system(tmp_path).advice
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        assert file_system(tmp_path).broken
    assert not any(tmp_path.iterdir())


def test_what_a_run_keeps_must_fit_the_disk() -> None:
    stages = [footprint("source", 3), footprint("adapt", 4)]  # (2 newest + best + one on its way) x 2 x 0.4 GiB
    assert not room(PAPER, stages, int(3.3 * GIB)).broken
    found = room(PAPER, stages, int(3.1 * GIB))
    assert found.broken
    assert found.found == "at most 3.2 GiB, 3.1 GiB free"


def test_the_largest_peak_must_fit_the_gpu() -> None:
    stages = [footprint("source", 3), footprint("translate", 20)]
    found = memory(stages, 15 * GIB, 16 * GIB)
    assert found.broken
    assert found.found == "translate needs 20.0 GiB; 15.0 of 16.0 GiB are free"
    busy = memory(stages, 10 * GIB, 80 * GIB)
    assert (busy.broken, busy.advice) == (False, "another process holds the rest")
    assert not memory(stages, 79 * GIB, 80 * GIB).advice


def test_an_interface_that_is_not_there_is_named() -> None:
    there = ["lo", "eth0", "ib0"]
    assert network({}, there) is None
    for right in ({"CIRN_INTERFACE": "ib0"}, {"NCCL_SOCKET_IFNAME": "ib"}, {"NCCL_SOCKET_IFNAME": "^docker"},
                  {"NCCL_SOCKET_IFNAME": "=eth0,ib9"}, {"GLOO_SOCKET_IFNAME": "eth0"}):  # fmt: skip
        found = network(right, there)
        assert found is not None
        assert not found.broken, right
    for wrong in ({"CIRN_INTERFACE": "ib"}, {"NCCL_SOCKET_IFNAME": "=eth"}, {"GLOO_SOCKET_IFNAME": "ib1"}):
        found = network(wrong, there)
        assert found is not None
        assert found.broken, wrong
        assert "eth0, ib0, lo" in found.advice


def test_a_resnet_without_a_gpu_is_warned_of() -> None:
    assert "weeks" in effort(PAPER, "cpu").advice
    assert effort(PAPER, "cpu").found == "600,000 iterations in all, resnet101"
    assert not effort(PAPER, "cuda").advice
    assert not effort(load("demo"), "cpu").advice
    assert "has instructions for it" in precision(Hardware("cpu", cpu_bf16=True)).found
    assert precision(Hardware("cuda", (8, 0), ("sm_80",))).found == "auto is bf16: this hardware computes in it"


def test_inputs_are_looked_at_as_a_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not inputs(load("smoke"), tmp_path / "run").advice
    missing = inputs(load("smoke", ["model.backbone=resnet18", "model.weights=imagenet"]), tmp_path / "run")
    assert (missing.broken, "cirn-dist fetch" in missing.advice) == (False, True)
    refused = inputs(load("gta5_cityscapes", ["data.source.raw=/nowhere"]), tmp_path / "run")
    assert refused.broken
    assert "/nowhere: no such folder" in refused.advice


def test_the_exit_code_and_the_json_say_whether_a_run_would_get_through(tmp_path: Path, cirn_dist: Command) -> None:
    told, out = tmp_path / "told.json", tmp_path / "run"
    assert cirn_dist("doctor", "--config", "smoke", "--out", out, "--json", told).returncode == 0
    content = json.loads(told.read_text())
    assert content["broken"] is False
    assert content["precision"] == "fp32"
    assert {one["what"] for one in content["findings"]} >= {"Inputs", "Ranks", "File system", "Checkpoints", "Training"}
    assert [one["stage"] for one in content["memory"]][:2] == ["source", "translate"]
    wrong = cirn_dist("doctor", "--config", "smoke", "engine.ranks=3", "--out", out, "--json", told)
    assert wrong.returncode == 1
    assert "engine.ranks=3 asks for another number" in wrong.stdout
    assert json.loads(told.read_text())["broken"] is True
    assert not out.exists()
