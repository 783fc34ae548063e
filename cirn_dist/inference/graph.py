"""A trained network as a graph for programs without this package: ONNX, or torch's own exported program.

Its input is 8-bit RGB as any decoder gives it, (N, 3, H, W) uint8 of any number and size; its output the probability of
each class at each pixel, (N, C, H, W) float32. Normalisation and upsampling are inside; averaging over sizes is not.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cirn_dist.errors import ConfigError, DataError
from cirn_dist.files import atomic
from cirn_dist.inference.load import TrainedSegmenter
from cirn_dist.inference.pictures import Pixels, scaled
from cirn_dist.libraries import installed
from cirn_dist.models.deeplab import Segmenter

GraphFormat = Literal["onnx", "torch"]
_SAID = "cirn_dist.json"  # in a torch file
_NEEDED = ("onnx", "onnxscript", "onnxruntime")

# (N, 3, H, W) uint8 -> (N, C, H, W) float32
Probabilities = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


class ImageNetwork(nn.Module):
    """The segmenter from an image's bytes to probabilities, in single precision on the CPU."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = copy.deepcopy(segmenter).cpu().float().eval().to(memory_format=torch.contiguous_format)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, 3, H, W) uint8 to (N, C, H, W) probabilities."""
        probabilities: Tensor = self.segmenter(image.float() / 127.5 - 1).logits.softmax(1)
        return probabilities


def assert_exportable(form: GraphFormat) -> None:
    """Check that the libraries are there.

    Raises:
        ConfigError: names what is missing.
    """
    if not hasattr(torch.export.Dim, "DYNAMIC"):
        raise ConfigError(f"torch {torch.__version__} exports no graph of any size", fix="torch 2.6 does")
    missing = [name for name in _NEEDED if not installed(name)] if form == "onnx" else []
    if missing:
        raise ConfigError(f"needs {', '.join(missing)}", where="--format onnx", fix="pip install 'cirn-dist[onnx]'")


def write_graph(net: TrainedSegmenter, out: Path, form: GraphFormat, said: Mapping[str, str]) -> None:
    """Write a network as a graph.

    Args:
        said: what the file says of itself: ONNX metadata, or `cirn_dist.json` in torch's archive.

    Raises:
        ConfigError: a library is missing.
        DataError: it cannot be written.
    """
    assert_exportable(form)
    example = torch.zeros(2, 3, *net.size[::-1], dtype=torch.uint8)
    anything = torch.export.Dim.DYNAMIC
    shapes = {"image": {0: anything, 2: anything, 3: anything}}
    program = torch.export.export(ImageNetwork(net.network), (example,), dynamic_shapes=shapes)
    if form == "torch":
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={_SAID: json.dumps(dict(said))})
        content = buffer.getvalue()
    else:
        content = _onnx(program, said)
    with atomic(out) as file:
        file.write(content)


def _onnx(program: torch.export.ExportedProgram, said: Mapping[str, str]) -> bytes:
    made = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=["image"], output_names=["probabilities"],
        dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
    )  # fmt: skip
    assert made is not None
    made.model.metadata_props.update(said)
    content: bytes = made.model_proto.SerializeToString()
    return content


def read_graph(out: Path, form: GraphFormat) -> Probabilities:
    """Open a written graph in a runtime of its own: onnxruntime, or torch without this package's classes.

    Raises:
        DataError: the runtime refuses it.
    """
    if form == "torch":
        program = torch.export.load(out).module()

        def by_torch(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            with torch.no_grad():
                found: npt.NDArray[np.float32] = program(torch.from_numpy(image)).numpy()
            return found

        return by_torch
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
        raise DataError(f"onnxruntime cannot open it: {error}", where=out) from error

    def by_onnxruntime(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        (found,) = session.run(None, {"image": image})
        return np.asarray(found, np.float32)

    return by_onnxruntime


def graph_difference(net: TrainedSegmenter, out: Path, form: GraphFormat, image: Pixels) -> tuple[float, float]:
    """Compare a written graph with the network: on an image, on two of half its height, and on a size of its own.

    Returns:
        The share of pixels whose class differs, and the largest difference of a probability.
    """
    network, graph = ImageNetwork(net.network), read_graph(out, form)
    width, height = net.size
    whole = np.ascontiguousarray(scaled(image, net.size).transpose(2, 0, 1)[None])
    other = np.ascontiguousarray(scaled(image, (width + 7, max(16, height - 5))).transpose(2, 0, 1)[None])
    halves = np.concatenate([whole[..., : height // 2, :], whole[..., height // 2 : 2 * (height // 2), :]])
    pixels = different = 0
    largest = 0.0
    for images in (whole, halves, other):
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        found = graph(images)
        different += int((found.argmax(1) != expected.argmax(1)).sum())
        pixels += expected[:, 0].size
        largest = max(largest, float(np.abs(found - expected).max()))
    return different / pixels, largest
