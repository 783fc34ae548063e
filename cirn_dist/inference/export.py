"""A trained network as one file: its weights, and in the file's own words all that is needed to use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.torch import save

from cirn_dist import __version__
from cirn_dist.config.recorded import dump
from cirn_dist.data.run_sets.label_space import settled
from cirn_dist.files import atomic, replace_text
from cirn_dist.formats import NETWORK
from cirn_dist.inference.find import FORMAT
from cirn_dist.inference.graph import graph_difference, write_graph
from cirn_dist.inference.load import TrainedSegmenter, load
from cirn_dist.inference.pictures import Pixels
from cirn_dist.rundir.results import FILE_NAME as RESULTS
from cirn_dist.rundir.results import read_results

ExportFormat = Literal["safetensors", "onnx", "torch"]
SUFFIXES: dict[str, ExportFormat] = {".safetensors": "safetensors", ".onnx": "onnx", ".pt2": "torch"}
_USE = {
    "safetensors": """import cirn_dist

found = cirn_dist.load("{file}").predict("photo.jpg")""",
    "onnx": """import numpy as np
import onnxruntime
from PIL import Image

image = Image.open("photo.jpg").convert("RGB").resize(({width}, {height}), Image.Resampling.BICUBIC)
session = onnxruntime.InferenceSession("{file}")
(found,) = session.run(None, {{"image": np.asarray(image).transpose(2, 0, 1)[None]}})
ids = found.argmax(1)[0]""",
    "torch": """import numpy as np
import torch
from PIL import Image

image = Image.open("photo.jpg").convert("RGB").resize(({width}, {height}), Image.Resampling.BICUBIC)
network = torch.export.load("{file}").module()
ids = network(torch.from_numpy(np.asarray(image)).permute(2, 0, 1)[None]).argmax(1)[0]""",
}


def export(net: TrainedSegmenter, out: Path) -> Path:
    """Write a network into one file in the format of its suffix, a model card beside it; returns the card.

    `.safetensors` is what `load` reads anywhere; `.onnx` and `.pt2` are graphs for programs without this package
    (`graph.py`). Each has in its metadata its classes, palette, the input its weights expect, the run's configuration,
    and the stage and checkpoint it is of; paths of the machine are left out.

    Raises:
        ConfigError: ONNX's libraries are missing.
        DataError: it cannot be written.
    """
    form = SUFFIXES[out.suffix]
    if form == "safetensors":
        tensors = {name: tensor.cpu().contiguous() for name, tensor in net.network.state_dict().items()}
        with atomic(out) as file:
            file.write(save(tensors, metadata=_said(net)))
    else:
        write_graph(net, out, form, _said(net))
    card = card_of(out)
    replace_text(card, model_card(net, out))
    return card


def card_of(out: Path) -> Path:
    """Return the path of an exported file's model card."""
    return out.with_name(f"{out.name}.md")


def _said(net: TrainedSegmenter) -> dict[str, str]:
    """Return what a file says of itself."""
    config = settled(net.config)
    domains = {
        name: getattr(config.data, name).model_copy(update={"raw": None, "score_raw": None})
        for name in ("source", "target")
    }
    data = config.data.model_copy(update=domains | {"packed": None})
    translate = config.translate.model_copy(update={"method": "cyclegan", "shards": None})
    model = config.model.model_copy(update={"weights": None, "segmenter": None})
    portable = config.model_copy(update={"data": data, "model": model, "translate": translate})
    expects = net.network.backbone.normalisation
    return {
        FORMAT: NETWORK,
        "version": __version__,
        "stage": net.stage,
        "checkpoint": net.fingerprint,
        "classes": json.dumps(net.classes),
        "palette": json.dumps(net.palette),
        "input": json.dumps({"range": [-1, 1], "mean": expects.mean, "std": expects.std, "bgr": expects.bgr}),
        "size": json.dumps(net.size),
        "config": dump(portable),
    }


def difference(net: TrainedSegmenter, out: Path, image: Pixels) -> tuple[float, float]:
    """Read an exported file again and compare both networks on an image.

    Returns:
        The share of pixels whose class differs, and the largest difference of confidence.
    """
    form = SUFFIXES[out.suffix]
    if form != "safetensors":
        return graph_difference(net, out, form, image)
    one, other = net.predict(image), load(out, device=net.device).predict(image)
    return float((one.ids != other.ids).mean()), float(np.abs(one.confidence - other.confidence).max())


def model_card(net: TrainedSegmenter, out: Path) -> str:
    """Return what a reader must know of the network, as Markdown."""
    config = net.config
    source, target = config.data.source, config.data.target
    lines = [
        f"# {out.stem}",
        "",
        f"A segmentation network, DeepLab-v2 on {config.model.backbone}, of stage `{net.stage}` of the run "
        f"`{config.name}` (seed {config.seed}), by cirn_dist {__version__}; checkpoint `{net.fingerprint[:12]}`.",
        "",
        "```python",
        _USE[SUFFIXES[out.suffix]].format(file=out.name, width=net.size[0], height=net.size[1]),
        "```",
        "",
        f"- **Trained on** labelled images of `{source.recipe}` ({source.split}) and unlabelled ones of "
        f"`{target.recipe}` ({target.split}), seen at {net.size[0]}x{net.size[1]}.",
        f"- **Classes**: {', '.join(net.classes)}.",
        f"- **Scores**: {_scores(net)}",
        f"- **Started from**: {_start(net)}",
        f"- **Input**: 8-bit RGB; the file has the normalisation. It may have any size, and was trained to see about "
        f"{net.size[0]}x{net.size[1]}. **Output**: a class and its probability for each pixel.",
        "",
    ]
    return "\n".join(lines)


def _scores(net: TrainedSegmenter) -> str:
    run = net.checkpoint.parents[2] if len(net.checkpoint.parents) > 2 else net.checkpoint
    if not (run / RESULTS).is_file():
        return "none are recorded beside it."
    results = read_results(run)
    row = next((row for row in results.rows if row.stage == net.stage and row.miou is not None), None)
    if row is None:
        return "none are recorded beside it."
    target = net.config.data.target
    images = "" if results.images is None else f", {results.images:,} images"
    return f"{100 * (row.miou or 0):.1f} % mIoU on `{target.recipe}` ({target.score_split}{images}), one seed."


def _start(net: TrainedSegmenter) -> str:
    model = net.config.model
    if model.segmenter is not None:
        return "weights of another project, imported; their licence holds for these, too."
    if model.weights == "imagenet":
        return "torchvision's ImageNet weights; ImageNet is for non-commercial research."
    return "random weights." if model.weights is None else "a file of weights; its licence holds for these, too."
