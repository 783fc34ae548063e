"""A network in one file is the network it was, wherever it is read; its card says what it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT, Command
from PIL import Image
from safetensors import safe_open

from cirn_dist.config.load import parse
from cirn_dist.config.yamlfile import read_yaml, to_yaml
from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.inference import graph
from cirn_dist.inference.load import load
from cirn_dist.rundir.made import FILE_NAME as MADE


@pytest.fixture(scope="module")
def run(mini: Path, tmp_path_factory: pytest.TempPathFactory, cirn_dist: Command) -> Path:
    out = tmp_path_factory.mktemp("export") / "run"
    short = ("with_cir=false", "controls=false", "--until", "adapt")
    assert cirn_dist("run", mini, *short, "--out", out).returncode == 0
    return out


def noise(seed: int = 0, height: int = 50, width: int = 70) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_file_alone_is_the_network(run: Path, tmp_path: Path, cirn_dist: Command) -> None:
    file = tmp_path / "net.safetensors"
    done = cirn_dist("export", run, "--out", file)
    assert done.returncode == 0, done.stderr
    assert "the same class at every pixel" in done.stdout
    before, after = load(run), load(file)
    assert (after.stage, after.size) == ("adapt", (48, 40))
    assert (after.classes, after.palette) == (before.classes, before.palette)
    assert after.fingerprint == before.fingerprint
    for seed in range(3):
        one, other = before.predict(noise(seed)), after.predict(noise(seed))
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.confidence, other.confidence)
    card = file.with_name("net.safetensors.md").read_text()
    for words in ("stage `adapt`", "sky, building, pole", "random weights", "% mIoU on `streets`", "net.safetensors"):
        assert words in card, words


def test_what_it_says_of_itself_needs_no_code_of_ours_and_no_path_of_this_machine(
    run: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    file = tmp_path / "net.safetensors"
    assert cirn_dist("export", run, "--stage", "source", "--out", file).returncode == 0
    with safe_open(file, framework="np") as opened:
        said = opened.metadata()
        assert any(key.startswith("backbone.") for key in opened.keys())  # noqa: SIM118 - not a mapping
    assert json.loads(said["classes"])[3] == "road"
    assert json.loads(said["size"]) == [48, 40]
    assert json.loads(said["input"])["range"] == [-1, 1]
    assert said["stage"] == "source"
    assert str(tmp_path.parent) not in json.dumps(said)


def test_other_files_are_refused_by_name(run: Path, tmp_path: Path, cirn_dist: Command) -> None:
    (weights,) = (run / "source/checkpoints").glob("*3/segmenter.safetensors")
    with pytest.raises(CheckpointError, match="is no exported network"):
        load(weights)
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load(tmp_path / "x.safetensors")
    there = cirn_dist("export", run, "--out", tmp_path / "x.safetensors")
    assert (there.returncode, "is there already" in there.stderr) == (2, True)
    assert (tmp_path / "x.safetensors").read_bytes() == b"nothing"
    ending = cirn_dist("export", run, "--out", tmp_path / "x.pth")
    assert (ending.returncode, "NAME.safetensors" in ending.stderr) == (2, True)


def test_loading_draws_nothing_of_the_callers_numbers(run: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load(run, "source")
    assert torch.equal(torch.rand(4), expected)


def test_a_gpus_half_precision_is_full_precision_on_a_cpu(run: Path) -> None:
    config = read_yaml(run / "config.yaml")
    plain = load(run, device="cpu").predict(noise())
    config["engine"]["precision"] = "fp16"
    parse(config, where="test")
    text = (run / "config.yaml").read_text()
    try:
        (run / "config.yaml").write_text(to_yaml(config))
        np.testing.assert_array_equal(load(run, device="cpu").predict(noise()).ids, plain.ids)
    finally:
        (run / "config.yaml").write_text(text)


def test_a_stage_is_the_network_it_was_trained_as(run: Path) -> None:
    """Where a later start was allowed another network, config.yaml has that, and the stage's record its own."""
    text, config = (run / "config.yaml").read_text(), read_yaml(run / "config.yaml")
    assert json.loads((run / "adapt" / MADE).read_text())["settings"]["model.acm.width"] == 8
    config["model"]["acm"]["width"] = 16
    try:
        (run / "config.yaml").write_text(to_yaml(config))
        assert load(run, "adapt").config.model.acm.width == 8
    finally:
        (run / "config.yaml").write_text(text)


@pytest.mark.parametrize("suffix", ["safetensors", "onnx", "pt2"])
def test_each_format_is_the_network_in_the_words_of_its_own_card(
    run: Path, tmp_path: Path, cirn_dist: Command, suffix: str
) -> None:
    """The card's program, in a process and a folder of its own, finds the classes that the loaded network finds."""
    done = cirn_dist("export", run, "--out", tmp_path / f"net.{suffix}")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    Image.fromarray(noise(3, 40, 48)).save(tmp_path / "photo.png")
    (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / f"net.{suffix}.md").read_text(), re.S)
    code = code.replace("photo.jpg", "photo.png") + "\nids = found.ids if suffix == 'safetensors' else ids"
    code += "\nimport numpy\nnumpy.save('ids.npy', numpy.asarray(ids).astype('uint8'))"
    ran = subprocess.run(
        [sys.executable, "-c", f"suffix = {suffix!r}\n{code}"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    expected = load(run).predict(tmp_path / "photo.png").ids
    assert len(np.unique(expected)) > 1, "or all networks would be alike"
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), expected)


def test_a_graph_takes_any_number_of_images_of_any_size_and_says_what_it_is(
    run: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    file = tmp_path / "net.onnx"
    assert cirn_dist("export", run, "--out", file).returncode == 0
    session = onnxruntime.InferenceSession(str(file))
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"])[3] == "road"
    assert json.loads(said["size"]) == [48, 40]
    assert str(tmp_path.parent) not in json.dumps(said)
    network = load(run).network
    for count, height, width in ((1, 16, 16), (3, 61, 77), (2, 120, 50)):
        images = np.stack([noise(number, height, width) for number in range(count)]).transpose(0, 3, 1, 2).copy()
        (found,) = session.run(["probabilities"], {"image": images})
        with torch.no_grad():
            logits = network(torch.from_numpy(images.astype(np.float64) / 127.5 - 1).float()).logits.double()
        np.testing.assert_allclose(found, logits.softmax(1).numpy(), atol=2e-5)


def test_a_missing_library_is_named_before_anything_is_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "installed", lambda name: name != "onnxscript")
    with pytest.raises(ConfigError, match=r"needs onnxscript; pip install 'cirn-dist\[onnx\]'"):
        graph.assert_exportable("onnx")
    graph.assert_exportable("torch")


def test_a_format_that_the_name_contradicts_is_refused(run: Path, tmp_path: Path, cirn_dist: Command) -> None:
    out = tmp_path / "net.safetensors"
    done = cirn_dist("export", run, "--format", "onnx", "--out", out)
    assert done.returncode == 2
    assert "is called as a file of safetensors, and --format is onnx; name the file by its format" in done.stderr
    assert cirn_dist("export", run, "--format", "safetensors", "--out", out).returncode == 0
    assert out.is_file()
