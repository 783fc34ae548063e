"""The lineage's published checkpoints, rebuilt with their names, shapes and old forms; and what may hide in a file."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cirn_dist.data.labels import label_space
from cirn_dist.errors import CheckpointError
from cirn_dist.models.acm import ACM
from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.imported import import_file, load_imported
from cirn_dist.models.weights import read_weights

C19 = label_space("cityscapes19")


def layout(heads: dict[str, tuple[int, int]], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Names and shapes as Res_Deeplab's code makes them: every block's own, and `layer5.conv2d_list.0.weight` etc."""

    def conv_and_norm(conv: str, norm: str, *shape: int) -> dict[str, tuple[int, ...]]:
        kinds = ("weight", "bias", "running_mean", "running_var")
        return {f"{conv}.weight": shape} | {f"{norm}.{kind}": shape[:1] for kind in kinds}

    shapes = conv_and_norm("conv1", "bn1", 64, 3, 7, 7)
    before = 64
    for layer, (blocks, width) in enumerate(((3, 64), (4, 128), (23, 256), (3, 512)), start=1):
        for i in range(blocks):
            name = f"layer{layer}.{i}"
            shapes |= conv_and_norm(f"{name}.conv1", f"{name}.bn1", width, before, 1, 1)
            shapes |= conv_and_norm(f"{name}.conv2", f"{name}.bn2", width, width, 3, 3)
            shapes |= conv_and_norm(f"{name}.conv3", f"{name}.bn3", 4 * width, width, 1, 1)
            if i == 0:
                shapes |= conv_and_norm(f"{name}.downsample.0", f"{name}.downsample.1", 4 * width, before, 1, 1)
            before = 4 * width
    for head, (classes, channels) in heads.items():
        for i in range(4):
            shapes |= {f"{head}.conv2d_list.{i}.weight": (classes, channels, 3, 3)}
            shapes |= {f"{head}.conv2d_list.{i}.bias": (classes,)}
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Give each tensor a number of its own, stored once: the file stays small."""
    return {name: torch.full((1,), float(i)).expand(shape) for i, (name, shape) in enumerate(shapes.items())}


INIT = layout({"layer5": (21, 2048)}, "Scale.")  # DeepLab_resnet_pretrained_init-f81d91e8.pth: 21 classes of VOC
CLAN = layout({"layer5": (19, 2048), "layer6": (19, 2048)})
ADAPTSEGNET = layout({"layer5": (19, 1024), "layer6": (19, 2048)}, "module.")


@pytest.mark.parametrize(
    ("shapes", "taken", "c_from", "left_out"),
    [
        (INIT, [0, 0], "", 8),
        (CLAN, [8, 8], "layer5.conv2d_list.2.weight", 0),
        (ADAPTSEGNET, [8, 0], "module.layer6.conv2d_list.2.weight", 0),
    ],
    ids=["init", "clan", "adaptsegnet"],
)
def test_a_published_checkpoint_is_imported_whole(
    shapes: dict[str, tuple[int, ...]], taken: list[int], c_from: str, left_out: int, tmp_path: Path
) -> None:
    original, file = filled(shapes), tmp_path / "published.pth"
    torch.save(original, file, _use_new_zipfile_serialization=False)
    found = import_file(file, tmp_path / "x.safetensors", backbone="resnet101_caffe", space=C19)
    assert [part.tensors for part in found.parts] == [520, *taken]
    assert found.parts[0].parameters == sum(t.numel() for n, t in original.items() if "conv2d_list" not in n)
    assert len(found.left_out) == left_out
    state = read_weights(found.path)
    prefix = next(iter(shapes)).removesuffix("conv1.weight")
    for name in ("bn1.running_var", "layer3.22.conv2.weight", "layer4.0.downsample.1.bias"):
        assert torch.equal(state[f"backbone.{name}"], original[f"{prefix}{name}"])
    file.unlink()
    if not c_from:
        body = build_backbone("resnet101_caffe", found.path)
        assert torch.equal(body.state_dict()["layer1.0.bn1.weight"], original["Scale.layer1.0.bn1.weight"])
        return
    assert torch.equal(state["classifier.branches.2.weight"], original[c_from])
    with torch.device("meta"):
        net = Segmenter(build_backbone("resnet101_caffe"), 19, ACM(2048, 19, k=2))
    assert not [name for name in state if name not in net.state_dict()]
    with pytest.raises(CheckpointError, match="its backbone is resnet101_caffe, this run's is resnet101"):
        load_imported(net, found.path, backbone="resnet101", space=C19)


def small() -> dict[str, Tensor]:
    return {"conv1.weight": torch.arange(6.0).view(2, 3), "bn1.running_mean": torch.ones(2)}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("inside", ["", "state_dict", "model", "net"])
def test_tensors_are_found_beside_a_training_scripts_own_state(zipped: bool, inside: str, tmp_path: Path) -> None:
    own = {
        "epoch": 3,
        "iter": np.int64(120_000),
        "best": np.float64(0.433),
        "half": np.float32(0.5),
        "args": {"lr": 1.0},
    }
    content: Any = own | {inside: small()} if inside else small()
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "a.pth")
    assert found.keys() == small().keys()
    assert all(torch.equal(tensor, small()[name]) for name, tensor in found.items())


def test_a_number_of_older_numpy_is_no_code(tmp_path: Path) -> None:
    content = pickle.dumps({"state_dict": {}, "best": np.float64(0.5)}, protocol=2)
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    legacy = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}):
        legacy.write(pickle.dumps(part, protocol=2))
    (tmp_path / "a.pth").write_bytes(legacy.getvalue() + old + pickle.dumps([], protocol=2))
    assert read_weights(tmp_path / "a.pth") == {}


def test_a_tar_of_the_first_torch_is_refused_in_one_line(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.pth", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("sys_info", b"x"), ("pickle", b"x"), ("storages", struct.pack("<q", 0)), ("tensors", b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(CheckpointError, match=r"a\.pth: cannot be read as weights .*legacy \.tar format") as caught:
        read_weights(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


class Trap:
    """Calls a function when it is unpickled."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("hidden", ["weight", "beside", "dtype"])
def test_code_in_a_file_is_refused_and_not_run(zipped: bool, hidden: str, tmp_path: Path) -> None:
    trap = Trap(Path.touch, tmp_path / "sprung")
    if hidden == "dtype":  # NumPy's numbers are let in: not with arguments that do something
        trap = Trap(np.float64(0).__reduce__()[0], np.dtype("O"), trap)
    content = {"conv1.weight": trap} if hidden == "weight" else {"state_dict": small(), "best": trap}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        import_file(tmp_path / "a.pth", tmp_path / "x.safetensors", backbone="resnet101_caffe", space=C19)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth"]
