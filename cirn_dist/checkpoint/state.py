"""What a training stage is made of at one step, as tensors by name, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cirn_dist.checkpoint.store import Checkpoint
from cirn_dist.data.labels import LabelSpace
from cirn_dist.errors import CheckpointError


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as {"<parameter number>.<name>": tensor}; rates are not state here."""
    tensors: dict[str, Tensor] = {}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            if value is not None:
                tensors[f"{number}.{name}"] = torch.as_tensor(value)
    return tensors


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned; the parameter groups keep the configuration's settings.

    What has a parameter's shape gets its memory format too: kernels for many tensors at once want them alike, and the
    checkpoint has its rows one after another whatever they were.
    """
    state = by_parameter(tensors)
    for number, parameter in enumerate(p for settings in optimizer.param_groups for p in settings["params"]):
        for name, value in state.get(number, {}).items():
            if value.shape == parameter.shape:
                state[number][name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def by_parameter(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return what `optimizer_tensors` returned as parameter number -> name -> tensor."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    return state


def class_facts(space: LabelSpace) -> dict[str, Any]:
    """Return what a checkpoint's state says of the classes it was trained on."""
    return {"label_space": space.name, "classes": list(space.classes)}


def assert_classes(checkpoint: Checkpoint, space: LabelSpace) -> None:
    """Compare the classes a checkpoint was trained on with a run's; older checkpoints know their space's name alone.

    Raises:
        CheckpointError: they are others.
    """
    state = checkpoint.state
    trained = LabelSpace(state["label_space"], tuple(state.get("classes", space.classes)), ())
    if not trained.is_same(space):
        raise CheckpointError(
            f"was trained on {trained.beside(space)}, this run is on {space.beside(trained)}",
            where=checkpoint.path,
            fix="train that stage in a new run",
        )


def load_component(network: nn.Module, checkpoint: Checkpoint, component: str, *, only: tuple[str, ...] = ()) -> None:
    """Load a component's weights into a network.

    Args:
        only: prefixes of the keys to load, for a network that has parts the component lacks; all by default.

    Raises:
        CheckpointError: a key is missing or a shape differs; names the first.
    """
    load_tensors(network, checkpoint.read(component), where=checkpoint.path, what=component, only=only)


def load_tensors(
    network: nn.Module, saved: Mapping[str, Tensor], *, where: Path, what: str, only: tuple[str, ...] = ()
) -> None:
    """Load tensors by name into a network.

    Args:
        where, what: the file or folder they are of, and what they are called there.
        only: as `load_component`.

    Raises:
        CheckpointError: a key is missing or a shape differs; names the first.
    """
    wanted = {key: t for key, t in network.state_dict().items() if not only or key.startswith(only)}
    for key, tensor in wanted.items():
        if key not in saved:
            raise CheckpointError(f"{what} lacks {key}", where=where, fix="is it of another architecture?")
        if saved[key].shape != tensor.shape:
            shapes = f"{tuple(saved[key].shape)}, the network needs {tuple(tensor.shape)}"
            raise CheckpointError(f"{what}'s {key} is {shapes}", where=where)
    network.load_state_dict({key: saved[key] for key in wanted}, strict=not only)
