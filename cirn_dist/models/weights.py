"""Reading weight files safely, and loading them with a report of what matched."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from cirn_dist.errors import CheckpointError

# How the DeepLab-v2 lineage's files begin and call their classifiers; CLAN has two, of which one is ours inside ACM.
_WRAPPERS = ("module.", "_orig_mod.", "Scale.")
_CLASSIFIERS = {"layer5.conv2d_list.": "classifier.branches.", "layer6.conv2d_list.": "acm.classifiers.0.branches."}

# Where training scripts put the network's tensors beside their own state.
_INSIDE = ("state_dict", "model_state_dict", "model", "net")

# What readers raise on damaged files; torch's unpickler follows a file's instructions until they make no sense.
_DAMAGED = (
    SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError, TypeError, LookupError, ArithmeticError,
    AttributeError, AssertionError, MemoryError, struct.error,
)  # fmt: skip

# Counters that older checkpoints lack; they only matter for a cumulative average.
_OPTIONAL = "num_batches_tracked"


@dataclass(frozen=True)
class MatchReport:
    """What of a file went into a network.

    Attributes:
        matched: names loaded.
        absent: names of the network that the file lacks and may lack.
        unused: names of the file that the network does not have and that were expected to be left over.
    """

    matched: tuple[str, ...]
    absent: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.matched)} tensors loaded, {len(self.absent)} kept as they were, {len(self.unused)} not used"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors, .pth or .pt file, on the CPU; no code of the file is ever run.

    Raises:
        CheckpointError: missing, damaged, holding other objects than tensors, or of another format.
    """
    if path.is_dir():
        raise CheckpointError("is a folder", where=path, fix="name the file of weights in it")
    if not path.is_file():
        raise CheckpointError("no such weights file", where=path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_numbers()):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", where=path) from error
    except _DAMAGED as error:
        raise _unreadable(path, error) from error
    if isinstance(state, Mapping):
        state = next((state[key] for key in _INSIDE if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("is not a dictionary of named tensors", where=path, fix="save the network's state_dict")
    return dict(state)


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    """Return what to say of a file that is no weights; torch's own words advise to run the file's code."""
    foreign = re.search(r"GLOBAL ([\w.]+) was not an allowed global", str(error))
    if foreign:
        fix = "where you trust the file, load it yourself and save its state_dict alone"
        return CheckpointError(
            f"cannot be read as weights (holds {foreign[1]}, which is no tensor)", where=path, fix=fix
        )
    with path.open("rb") as file:
        start = file.read(32)
    if start.isascii() and start.decode("ascii").isprintable():
        return CheckpointError(f"is no weights file: starts with {start.decode('ascii')}", where=path)
    reason = "damaged, or of another format" if isinstance(error, UnpicklingError) else str(error).partition("\n")[0]
    return CheckpointError(f"cannot be read as weights ({reason or type(error).__name__})", where=path)


def _numbers() -> list[Any]:
    """Return what a file may hold beside tensors: NumPy's numbers, under the names that old and new versions write."""
    scalar = np.float64(0).__reduce__()[0]
    names = (f"numpy.{core}.multiarray.scalar" for core in ("core", "_core"))
    return [*((scalar, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd")]


def canonical_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a lineage checkpoint under this project's names; other files keep theirs.

    AdaptSegNet's second classifier is the main one: its first reads a shallower layer's features and is left out.
    """
    named = {_strip(name): tensor for name, tensor in state.items()}
    first, second = (named.get(f"{old}0.weight") for old in _CLASSIFIERS)
    auxiliary = first is not None and second is not None and first.shape[1] != second.shape[1]
    renamed = {}
    for name, tensor in named.items():
        if auxiliary:
            if name.startswith("layer5."):
                continue
            name = name.replace("layer6.", "layer5.", 1) if name.startswith("layer6.") else name
        for old, new in _CLASSIFIERS.items():
            name = new + name.removeprefix(old) if name.startswith(old) else name
        renamed[name] = tensor
    return renamed


def segmenter_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a lineage checkpoint as a Segmenter's state: backbone, classifier, acm."""
    ours = ("backbone.", "classifier.", "acm.")
    return {n if n.startswith(ours) else f"backbone.{n}": tensor for n, tensor in canonical_names(state).items()}


def backbone_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a lineage checkpoint, or of an imported one, under the backbone's own names."""
    return {name.removeprefix("backbone."): tensor for name, tensor in canonical_names(state).items()}


def described(path: Path) -> dict[str, str]:
    """Return what an imported file says of itself (backbone, label_space, ...); nothing where it says nothing."""
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f"cannot be read as weights ({error})", where=path) from error


def _strip(name: str) -> str:
    while (shorter := next((name.removeprefix(w) for w in _WRAPPERS if name.startswith(w)), None)) is not None:
        name = shorter
    return name


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], *, where: str | Path, ignore: Sequence[str] = ()
) -> MatchReport:
    """Load tensors by name and return what matched; the network is unchanged if anything is wrong, as in `match`."""
    found = match(module, state, where=where, ignore=ignore)
    module.load_state_dict({name: state[name] for name in found.matched}, strict=False)
    return found


def match(
    module: nn.Module, state: Mapping[str, Tensor], *, where: str | Path, ignore: Sequence[str] = ()
) -> MatchReport:
    """Compare tensors with a network's by name and shape; its values are not looked at, so it may be on "meta".

    Args:
        state: name -> tensor.
        where: the file's name, for errors.
        ignore: prefixes of names that may be left over.

    Raises:
        CheckpointError: a parameter is missing, has another shape, or nobody expects it.
    """
    own = module.state_dict()
    absent = [name for name in own if name not in state]
    unused = [name for name in state if name not in own]
    for problem, names in (
        ("lacks", [name for name in absent if not name.endswith(_OPTIONAL)]),
        ("has unknown", [name for name in unused if not name.startswith(tuple(ignore))]),
        ("has another shape of", [n for n in own if n in state and own[n].shape != state[n].shape]),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(
                f"{problem} {names[0]}{more}", where=where, fix="it belongs to another network; check the names"
            )
    matched = [name for name in own if name in state]
    return MatchReport(tuple(matched), tuple(absent), tuple(unused))
