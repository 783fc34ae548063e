"""Weights of other projects: converted once, checked part by part, and loaded as a network to start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from cirn_dist.data.labels import LabelSpace
from cirn_dist.errors import CheckpointError
from cirn_dist.files import atomic, file_sha256
from cirn_dist.models.backbones import BEYOND_FEATURES, build_backbone
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.weights import described, load_strictly, match, read_weights, segmenter_names

PARTS = {"backbone": "backbone.", "C": "classifier.", "ACM's classifier": "acm.classifiers.0."}


@dataclass(frozen=True)
class Part:
    """What became of one part of the segmenter: tensors and parameters taken, and why the rest was not."""

    name: str
    tensors: int
    parameters: int
    note: str = ""


@dataclass(frozen=True)
class Imported:
    """A converted file: what of the segmenter it holds, and the names of the original that were left out."""

    path: Path
    backbone: str
    label_space: str
    parts: tuple[Part, ...]
    left_out: tuple[str, ...]


def import_file(file: Path, out: Path, *, backbone: str, space: LabelSpace) -> Imported:
    """Convert a checkpoint of the DeepLab-v2 lineage (or of this project); no code of the file is ever run.

    Classifiers of another number of classes are left out: the file then gives a backbone only.

    Raises:
        CheckpointError: unreadable, or the backbone's tensors are not those of `backbone`.
    """
    state = segmenter_names(read_weights(file))
    with torch.device("meta"):  # only its names and shapes are asked for
        body = build_backbone(backbone)
    taken = _own(state, PARTS["backbone"])
    report = match(body, taken, where=file, ignore=BEYOND_FEATURES)
    kept = {f"backbone.{name}": taken[name] for name in report.matched}
    missing = f"{len(report.absent)} counters kept as they were" if report.absent else ""
    parts = [Part("backbone", len(kept), _count(kept), missing)]
    for name, prefix in list(PARTS.items())[1:]:
        head, note = _head(state, prefix, body.out_channels, space, file)
        parts.append(Part(name, len(head), _count(head), note))
        kept |= head
    kept |= {name: tensor for name, tensor in state.items() if name.startswith("acm.attention.") and parts[2].tensors}
    description = {"backbone": backbone, "label_space": space.name if parts[1].tensors else ""}
    description["classes"] = ", ".join(space.classes) if parts[1].tensors else ""
    _save(kept, out, description | {"source": file.name, "sha256": file_sha256(file)})
    return Imported(out, backbone, space.name, tuple(parts), tuple(name for name in state if name not in kept))


def load_imported(segmenter: Segmenter, file: Path, *, backbone: str, space: LabelSpace) -> None:
    """Load an imported segmenter; attention modules it lacks, or a whole ACM, keep their random start.

    Raises:
        CheckpointError: of another backbone, label space or shape, or without a classifier.
    """
    state, said = segmenter_names(read_weights(file)), described(file)
    for what, expected in (("backbone", backbone), ("label_space", space.name), ("classes", ", ".join(space.classes))):
        if said.get(what) and said[what] != expected:
            raise CheckpointError(
                f"its {what} is {said[what]}, this run's is {expected}", where=file, fix="import or choose another"
            )
    if f"{PARTS['C']}branches.0.weight" not in state:
        raise CheckpointError("holds no classifier of this label space", where=file, fix="use it as model.weights")
    own = segmenter.state_dict()
    optional = ("acm.attention.",) if PARTS["ACM's classifier"] + "branches.0.weight" in state else ("acm.",)
    kept = {name: tensor for name, tensor in own.items() if name.startswith(optional) and name not in state}
    beyond = ("acm.",) if segmenter.acm is None else ()
    load_strictly(segmenter, state | kept, where=file, ignore=beyond)


def _head(
    state: Mapping[str, Tensor], prefix: str, channels: int, space: LabelSpace, file: Path
) -> tuple[dict[str, Tensor], str]:
    """Return a classifier's tensors under their full names, or none and the reason."""
    own = _own(state, f"{prefix}branches.")
    if "0.weight" not in own:
        return {}, "not in the file"
    classes = own["0.weight"].shape[0]
    if classes != space.num_classes:
        return {}, f"left out: {classes} classes, {space.name} has {space.num_classes}"
    with torch.device("meta"):
        match(_branches(channels, classes), own, where=file)
    return {f"{prefix}branches.{name}": tensor for name, tensor in own.items()}, ""


def _branches(channels: int, classes: int) -> nn.Module:
    return Classifier(channels, classes).branches


def _own(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _count(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _save(tensors: Mapping[str, Tensor], out: Path, description: dict[str, str]) -> None:
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=description)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic(out) as file:
            file.write(content)
    except OSError as error:
        raise CheckpointError(f"cannot be written ({error.strerror})", where=out) from error
