"""Batch normalisation over ranks, per batch, or frozen; and its re-estimation on another domain (AdaBN)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TypeVar, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cirn_dist.choices import NormMode
from cirn_dist.errors import ConfigError, DataError
from cirn_dist.models.moments import SumOverRanks, channel_moments, statistics, unbiased
from cirn_dist.precision import uses_cuda, wide

Module = TypeVar("Module", bound=nn.Module)


class PortableSyncBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d over the batches of all ranks, on any device and process group.

    The native SyncBatchNorm raises on CPU tensors. Forward, backward and running statistics equal BatchNorm2d's on the
    concatenated batch, also when ranks hold different numbers of values.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) with the statistics of every rank's batch, or the running ones in eval mode."""
        if not (self.training and _world_size() > 1):
            return super().forward(x)
        moments = SumOverRanks.apply(channel_moments(x))
        values = wide(x)
        mean, variance = (statistic.to(values.dtype) for statistic in statistics(moments))
        self._update_running(*(each.detach() for each in (mean, variance, moments[-1])))
        scale = torch.rsqrt(variance + self.eps) * (1.0 if self.weight is None else self.weight)
        shift = (0.0 if self.bias is None else self.bias) - mean * scale
        normalised = values * scale[:, None, None] + shift[:, None, None]
        return normalised.to(x.dtype)

    def _update_running(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_((variance * unbiased(count)).to(self.running_var.dtype), momentum)


class InstanceNorm2d(nn.InstanceNorm2d):
    """InstanceNorm2d that is right in half precision on CPUs too, where torch rounds each mean to it.

    Of a single image it is batch normalisation, whose kernel there leaves pixels' channels together: torch's own
    instance normalisation copies every map to another order, and what follows copies it back.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each image's channels, (N, C, H, W); the result has the input's number format."""
        if x.device.type != "cpu":
            return super().forward(x)
        if len(x) > 1 or self.track_running_stats or x.shape[-2:].numel() == 1:
            return super().forward(wide(x)).to(x.dtype)
        return F.batch_norm(wide(x), None, None, self.weight, self.bias, training=True, eps=self.eps).to(x.dtype)


class FrozenBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d that keeps and uses its running statistics in train mode too; its affine parameters still train."""

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Stay in eval mode whatever is asked; only what it holds, as a dropout, follows."""
        super().train(mode)
        self.training = False
        return self


class _Activated(nn.Module):
    """What timm's BatchNormAct2d does beside normalising: its dropout, then its activation."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Normalise as the kind of batch norm that it is mixed into, drop, activate."""
        return cast(Tensor, self.act(self.drop(super().forward(x))))


_KINDS: tuple[type[_BatchNorm], ...] = (nn.SyncBatchNorm, PortableSyncBatchNorm, nn.BatchNorm2d, FrozenBatchNorm)
_ACTIVATED: dict[type[_BatchNorm], type[_BatchNorm]] = {
    kind: type(f"Activated{kind.__name__}", (_Activated, kind), {"__doc__": _Activated.__doc__}) for kind in _KINDS
}
_PLAIN = (_BatchNorm.forward, nn.SyncBatchNorm.forward, PortableSyncBatchNorm.forward)
_TIMMS = ("BatchNormAct2d.forward", "SyncBatchNormAct.forward")


def convert(module: Module, mode: NormMode) -> Module:
    """Replace every batch norm in the module, itself included, and return it.

    Parameters and buffers stay the same objects under the same names: checkpoints and optimizers remain valid. So do
    hooks, and the dropout and activation of timm's norms.

    Args:
        module: any network; changed in place.
        mode: statistics over all ranks (`sync`), of the rank's own batch (`batch`), or the running ones (`frozen`).

    Raises:
        ConfigError: a batch norm of another number of dimensions, or of a class whose forward would be lost.
    """
    if isinstance(module, _BatchNorm):
        return cast(Module, _replaced(module, mode))
    for name, child in module.named_children():
        setattr(module, name, convert(child, mode))
    return module


def freeze_affine(module: nn.Module) -> None:
    """Stop training the weights and biases of every batch norm in the module."""
    for norm in batch_norms(module):
        for parameter in norm.parameters():
            parameter.requires_grad_(False)


def average_running_stats(module: nn.Module) -> None:
    """Set every batch norm's running statistics to their mean over ranks; call it on all ranks."""
    world = _world_size()
    if world == 1:
        return
    for norm in batch_norms(module):
        for buffer in (norm.running_mean, norm.running_var):
            if buffer is not None:
                dist.all_reduce(buffer)
                buffer.div_(world)


@torch.no_grad()
def reestimate_statistics(model: Module, batches: Iterable[Tensor]) -> Module:
    """Return an evaluation copy whose batch norms have the statistics of these images (AdaBN); no label is needed.

    Mean and variance are pooled over all pixels of all batches and ranks, each pixel counted once (Li et al. 2016).
    A batch's features are normalised by its own rank's batch: the result depends on which images share a batch, but
    not on their order or on how batches are dealt out to ranks, which may hold different numbers of them.

    Args:
        model: the network, without a DDP wrapper; unchanged.
        batches: images (N, 3, H, W) in [-1, 1], as the model takes them.

    Raises:
        DataError: no image on any rank.
    """
    model = convert(copy.deepcopy(model), "batch").eval()
    norms = batch_norms(model)
    moments = [torch.zeros(2 * norm.num_features + 1, dtype=torch.float64, device=_device(norm)) for norm in norms]

    def count_into(total: Tensor) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def count(_: nn.Module, inputs: tuple[Tensor]) -> None:  # a hook that returned a tensor would replace the input
            total.add_(channel_moments(inputs[0]))

        return count

    handles = [norm.register_forward_pre_hook(count_into(total)) for norm, total in zip(norms, moments, strict=True)]
    for norm in norms:
        norm.training = True
    for images in batches:
        model(images)
    for handle in handles:
        handle.remove()
    for norm, total in zip(norms, moments, strict=True):
        if _world_size() > 1:
            dist.all_reduce(total)
        _set_statistics(norm, total)
    return model.eval()


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the module's batch norms of any kind, in its own order."""
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


def _kind(mode: NormMode) -> type[_BatchNorm]:
    if mode == "sync":
        native = "nccl" in dist.get_backend() if _world_size() > 1 else uses_cuda()
        return nn.SyncBatchNorm if native else PortableSyncBatchNorm
    return nn.BatchNorm2d if mode == "batch" else FrozenBatchNorm


def _replaced(norm: _BatchNorm, mode: NormMode) -> _BatchNorm:
    if not isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm):
        raise _unknown(norm, "it normalises no images")
    kind = _kind(mode)
    if isinstance(norm, _Activated) or _is_timms(norm):
        kind = _ACTIVATED[kind]
    elif type(norm).forward not in _PLAIN:
        raise _unknown(norm, "its own forward would be lost")
    new = kind(norm.num_features)
    new.__dict__.update(norm.__dict__)  # its numbers and tensors, and what its class added
    new.training = norm.training and mode != "frozen"
    return new


def _is_timms(norm: nn.Module) -> bool:
    """Whether a norm's forward is timm's: normalise, drop, activate. Classes of timm's that refine it are not."""
    forward = type(norm).forward
    return forward.__module__.split(".")[0] == "timm" and forward.__qualname__ in _TIMMS


def _unknown(norm: _BatchNorm, reason: str) -> ConfigError:
    name = f"{type(norm).__module__}.{type(norm).__qualname__}"
    return ConfigError(f"cannot convert {name}: {reason}", fix="build the network with torch's BatchNorm2d")


def _set_statistics(norm: _BatchNorm, moments: Tensor) -> None:
    count = moments[-1]
    if count == 0:
        raise DataError("no images to re-estimate BatchNorm statistics from", fix="give at least one")
    mean, variance = statistics(moments)
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance * unbiased(count))


def _device(norm: _BatchNorm) -> torch.device:
    return next((buffer.device for buffer in norm.buffers()), torch.device("cpu"))


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
