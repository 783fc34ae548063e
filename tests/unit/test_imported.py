"""Weights of other projects: what is taken, what is refused, and that a run starts from them."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from conftest import Command
from PIL import Image
from rich.console import Console
from stagerun import stage_run
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from cirn_dist.checkpoint.store import Store
from cirn_dist.data.labels import label_space
from cirn_dist.display.weights import import_table
from cirn_dist.engine.loop import fit
from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.inference.load import load
from cirn_dist.models.acm import ACM
from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.imported import import_file, load_imported
from cirn_dist.models.weights import read_weights
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.segmenter import initial_segmenter
from cirn_dist.stages.source import supervised

CAMVID, CITYSCAPES = label_space("camvid11"), label_space("cityscapes19")


def lineage_file(path: Path, backbone: str = "tiny", classes: int = 11, layers: str = "56") -> dict[str, Tensor]:
    """Write a checkpoint named as CLAN's; returns its tensors."""
    torch.manual_seed(1)
    body = build_backbone(backbone)
    state = {f"module.{n}": t for n, t in body.state_dict().items() if "num_batches" not in n}
    for layer in layers:
        for i in range(4):
            weight = torch.randn(classes, body.out_channels, 3, 3)
            state |= {f"module.layer{layer}.conv2d_list.{i}.weight": weight}
            state |= {f"module.layer{layer}.conv2d_list.{i}.bias": torch.randn(classes)}
    torch.save(state, path)
    return state


def test_a_clan_checkpoint_becomes_backbone_c_and_acms_classifier(tmp_path: Path) -> None:
    original = lineage_file(tmp_path / "clan.pth")
    found = import_file(tmp_path / "clan.pth", tmp_path / "clan.safetensors", backbone="tiny", space=CAMVID)
    assert [part.tensors for part in found.parts[1:]] == [8, 8]
    assert sum(part.tensors for part in found.parts) == len(original)
    assert found.left_out == ()
    net = Segmenter(build_backbone("tiny"), 11, ACM(net_channels(), 11, k=2, width=8))
    gates = {n: t.clone() for n, t in net.state_dict().items() if ".attention." in n}
    load_imported(net, found.path, backbone="tiny", space=CAMVID)
    state = net.state_dict()
    assert torch.equal(state["classifier.branches.1.weight"], original["module.layer5.conv2d_list.1.weight"])
    assert torch.equal(state["acm.classifiers.0.branches.3.bias"], original["module.layer6.conv2d_list.3.bias"])
    assert all(torch.equal(state[name], tensor) for name, tensor in gates.items())
    assert gates
    alone = Segmenter(build_backbone("tiny"), 11)
    load_imported(alone, found.path, backbone="tiny", space=CAMVID)
    assert torch.equal(alone.state_dict()["classifier.branches.0.bias"], state["classifier.branches.0.bias"])


def net_channels() -> int:
    return build_backbone("tiny").out_channels


def test_a_file_with_one_classifier_leaves_acm_as_it_was(tmp_path: Path) -> None:
    lineage_file(tmp_path / "one.pth", layers="5")
    found = import_file(tmp_path / "one.pth", tmp_path / "one.safetensors", backbone="tiny", space=CAMVID)
    assert [(part.tensors, part.note) for part in found.parts[1:]] == [(8, ""), (0, "not in the file")]
    net = Segmenter(build_backbone("tiny"), 11, ACM(net_channels(), 11, k=1, width=8))
    before = {n: t.clone() for n, t in net.state_dict().items() if n.startswith("acm.")}
    load_imported(net, found.path, backbone="tiny", space=CAMVID)
    assert all(torch.equal(net.state_dict()[n], t) for n, t in before.items())


def test_classifiers_of_another_label_space_are_left_out_and_said(tmp_path: Path) -> None:
    original = lineage_file(tmp_path / "voc.pth", classes=21, layers="5")
    found = import_file(tmp_path / "voc.pth", tmp_path / "voc.safetensors", backbone="tiny", space=CITYSCAPES)
    assert found.parts[1].note == "left out: 21 classes, cityscapes19 has 19"
    assert len(found.left_out) == 8
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(import_table(found))
    text = console.export_text()
    assert "21 classes" in text
    assert "8 tensors left out: classifier.branches.0.weight" in text
    assert "model.weights=" in text
    body = build_backbone("tiny", found.path)
    name = next(iter(body.state_dict()))
    assert torch.equal(body.state_dict()[name], original[f"module.{name}"])
    with pytest.raises(CheckpointError, match="no classifier of this label space"):
        load_imported(Segmenter(body, 19), found.path, backbone="tiny", space=CITYSCAPES)


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    lineage_file(tmp_path / "clan.pth")
    with pytest.raises(CheckpointError, match=r"clan\.pth: lacks"):
        import_file(tmp_path / "clan.pth", tmp_path / "x.safetensors", backbone="resnet18", space=CAMVID)
    assert not (tmp_path / "x.safetensors").exists()
    made = import_file(tmp_path / "clan.pth", tmp_path / "clan.safetensors", backbone="tiny", space=CAMVID).path
    with pytest.raises(CheckpointError, match="its label_space is camvid11, this run's is cityscapes19"):
        load_imported(Segmenter(build_backbone("tiny"), 19), made, backbone="tiny", space=CITYSCAPES)
    with pytest.raises(CheckpointError, match=r"holds weights of tiny; set model\.backbone=tiny"):
        build_backbone("resnet18", made)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    for name, save in (("a.pth", torch.save), ("b.pth", lambda o, p: Path(p).write_bytes(pickle.dumps(o)))):
        save({"module.layer5.conv2d_list.0.weight": Trap()}, tmp_path / name)
        with pytest.raises(CheckpointError, match="cannot be read as weights"):
            import_file(tmp_path / name, tmp_path / "x.safetensors", backbone="tiny", space=CAMVID)
    assert not (tmp_path / "sprung").exists()


def test_a_runs_stages_start_from_an_imported_segmenter(tmp_path: Path) -> None:
    original = lineage_file(tmp_path / "clan.pth")
    made = import_file(tmp_path / "clan.pth", tmp_path / "clan.safetensors", backbone="tiny", space=CAMVID).path
    run = stage_run(tmp_path / "run", f"model.segmenter={made}", "source.iterations=4", "source.lr=1e-12")
    segmenter, parents = initial_segmenter(run, run.config.source.init, with_acm=True)
    assert parents == {"imported": str(made)}
    head = "acm.classifiers.0.branches.2.weight"
    assert torch.equal(segmenter.state_dict()[head], original["module.layer6.conv2d_list.2.weight"])
    fit(supervised(run, "source", open_domains(run).source, run.config.source), run)
    trained = Store(tmp_path / "run/source/checkpoints").latest()
    assert trained is not None
    facts = {"path": str(made), "fingerprint": hashlib.sha256(made.read_bytes()).hexdigest()}
    assert trained.state["parents"] == {"imported": facts}
    weight = trained.read("segmenter")["classifier.branches.0.weight"]
    torch.testing.assert_close(weight, original["module.layer5.conv2d_list.0.weight"], atol=1e-6, rtol=0)


def test_the_command_says_what_matched(tmp_path: Path, cirn_dist: Command) -> None:
    lineage_file(tmp_path / "clan.pth")
    arguments = ("import-weights", tmp_path / "clan.pth", "--backbone", "tiny", "--space", "camvid11")
    done = cirn_dist(*arguments, "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    assert "ACM's classifier" in done.stdout
    assert "model.segmenter=" in done.stdout.replace("\n", "")
    assert read_weights(tmp_path / "clan.safetensors").keys()
    refused = cirn_dist("import-weights", tmp_path / "absent.pth")
    assert refused.returncode == 1
    assert "no such weights file" in refused.stderr


def test_a_file_that_is_no_weights_is_told_in_one_line_without_advice_to_run_its_code(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "args.pth")
    (tmp_path / "html.pth").write_text("<!DOCTYPE html><html>quota exceeded</html>", encoding="utf-8")
    cases = {
        "args.pth": r"args.pth: .*\(holds argparse.Namespace, which is no tensor\); where you trust the file",
        "html.pth": "html.pth: is no weights file: starts with <!DOCTYPE html>",
        "": "is a folder; name the file",
    }
    for name, told in cases.items():
        with pytest.raises(CheckpointError, match=told) as caught:
            read_weights(tmp_path / name)
        assert "weights_only" not in str(caught.value)
        assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("layers", ["56", "5"])
def test_an_imported_network_is_scored_without_a_run(
    layers: str, mini: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    """CLAN's scores are of the sum of its two classifiers: recomputed here from its own tensors."""
    state = lineage_file(tmp_path / "clan.pth", layers=layers)
    import_file(tmp_path / "clan.pth", tmp_path / "clan.safetensors", backbone="tiny", space=CAMVID)
    before = torch.get_rng_state()
    net = load(tmp_path / "clan.safetensors", config=mini)
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers are left alone"
    images = torch.randn(1, 3, 40, 48).clamp(-1, 1)
    features = net.network.features(images)
    expected = torch.zeros(1, 11, *features.shape[-2:])
    for layer in layers:
        for i, dilation in enumerate((6, 12, 18, 24)):
            name = f"module.layer{layer}.conv2d_list.{i}"
            expected += conv2d(
                features, state[f"{name}.weight"], state[f"{name}.bias"], padding=dilation, dilation=dilation
            )
    expected = interpolate(expected, (40, 48), mode="bilinear", align_corners=True)
    torch.testing.assert_close(net.network(images).logits, expected, atol=1e-4, rtol=1e-4)
    told = tmp_path / "told.json"
    Image.new("RGB", (48, 40)).save(tmp_path / "a.png")
    done = cirn_dist("predict", tmp_path / "clan.safetensors", tmp_path / "a.png", "--out", tmp_path / "out",
                     "--config", mini, "--json", told)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(told.read_text())["stage"] == "imported"


def test_weights_alone_need_a_configuration_and_a_run_has_its_own(mini: Path, tmp_path: Path) -> None:
    lineage_file(tmp_path / "clan.pth")
    import_file(tmp_path / "clan.pth", tmp_path / "clan.safetensors", backbone="tiny", space=CAMVID)
    with pytest.raises(CheckpointError, match="for weights of another project say --config, whose network they are"):
        load(tmp_path / "clan.safetensors")
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="has a configuration of its own; drop --config"):
        load(tmp_path / "run", config=mini)
    with pytest.raises(CheckpointError, match="its backbone is tiny, this run's is mobilenet_v2"):
        load(tmp_path / "clan.safetensors", config="streets_camvid_imagenet")
