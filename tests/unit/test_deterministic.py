"""Deterministic forms equal torch's own; with them no step calls what has none on a GPU. No step waits for a GPU."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from stagerun import stage_run
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cirn_dist import losses
from cirn_dist.engine import loop
from cirn_dist.engine.arithmetic import choose_kernels
from cirn_dist.engine.step import train_step
from cirn_dist.models.padding import ReflectionPad2d, pad_to
from cirn_dist.models.resizing import resize
from cirn_dist.models.tiny import Tiny
from cirn_dist.pipeline import run_pipeline
from cirn_dist.stages.translate.noise import noise_level

# What torch.use_deterministic_algorithms says throws on CUDA, as the operators that reach a kernel: of two-dimensional
# networks, and of what a loss, a metric or a colour transfer might use.
REFUSED = {
    *(f"upsample_{kind}_backward" for kind in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")),
    *(f"_upsample_{kind}_aa_backward" for kind in ("bilinear2d", "bicubic2d")),
    *(f"reflection_pad{n}d_backward" for n in (1, 2, 3)),
    "nll_loss_forward", "nll_loss_backward", "nll_loss2d_forward", "nll_loss2d_backward",
    "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward",
    "_adaptive_avg_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward",
    "max_unpool2d", "max_unpool3d", "_ctc_loss_backward", "_embedding_bag_backward", "put", "put_", "histc",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward", "index_reduce", "index_reduce_", "kthvalue",
    "median.dim", "nanmedian.dim",
}  # fmt: skip


@pytest.fixture
def deterministic() -> Iterator[None]:
    choose_kernels(deterministic=True, tf32=False)
    yield
    choose_kernels(deterministic=False, tf32=False)


def forward_and_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a function's value, and the gradient of its values' sum under random weights."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    value = function(x)
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((value.double() * weights).sum(), x)
    return value.detach(), gradient


def values(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(
    ("size", "to"),
    [
        ((5, 7), (33, 50)), ((46, 61), (360, 480)), ((33, 50), (5, 7)), ((1, 1), (9, 8)), ((9, 8), (1, 1)),
        ((6, 1), (6, 4)), ((4, 4), (4, 4)),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("deterministic")
def test_resizing_is_torchs_bilinear_interpolation(size: tuple[int, int], to: tuple[int, int]) -> None:
    x = values(2, 3, *size)
    expected = forward_and_gradient(lambda x: F.interpolate(x, to, mode="bilinear", align_corners=True), x)
    for one, other in zip(forward_and_gradient(lambda x: resize(x, to), x), expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("deterministic")
def test_resizing_in_half_precision_rounds_the_result_alone() -> None:
    """Weights in bf16 would move pixels: 8 bits are not enough for a place among 480."""
    x = (100 + values(1, 2, 46, 61)).bfloat16()
    exact = F.interpolate(x.double(), (360, 480), mode="bilinear", align_corners=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = resize(x, (360, 480))
        assert Tiny()(values(1, 3, 32, 40, dtype=torch.float32)).dtype == torch.bfloat16
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=0)


@pytest.mark.parametrize("padding", [1, 3, (1, 0, 2, 3)])
@pytest.mark.parametrize("format_", [torch.contiguous_format, torch.channels_last])
@pytest.mark.usefixtures("deterministic")
def test_reflection_padding_is_torchs(padding: int | tuple[int, ...], format_: torch.memory_format) -> None:
    x = values(2, 3, 6, 5).contiguous(memory_format=format_)
    expected, gradient = forward_and_gradient(nn.ReflectionPad2d(padding), x)
    found, own = forward_and_gradient(ReflectionPad2d(padding), x)
    assert torch.equal(found, expected)
    torch.testing.assert_close(own, gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cross_entropy_is_torchs_to_the_bit(dtype: torch.dtype) -> None:
    logits, labels = 5 * values(2, 4, 6, 7, dtype=dtype), torch.randint(0, 4, (2, 6, 7))
    labels[0, :3], labels[1] = losses.IGNORE, losses.IGNORE
    expected = forward_and_gradient(lambda x: losses.segmentation(x, labels, focal_gamma=2.0), logits)
    choose_kernels(deterministic=True, tf32=False)
    try:
        found = forward_and_gradient(lambda x: losses.segmentation(x, labels, focal_gamma=2.0), logits)
        with pytest.raises(RuntimeError, match="out of bounds"):
            losses.segmentation(logits, torch.full((2, 6, 7), 4))
    finally:
        choose_kernels(deterministic=False, tf32=False)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_the_noise_level_is_the_median_of_each_image() -> None:
    lightness = values(3, 9, 11, dtype=torch.float32)
    mask = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])[None, None]
    response = F.conv2d(lightness[:, None], mask).abs().flatten(1)
    assert torch.equal(noise_level(lightness), response.median(1).values / (6 * 0.6745))


def test_kernels_are_chosen_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":1:1")
    try:
        choose_kernels(deterministic=False, tf32=True)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":1:1"
        assert torch.backends.cudnn.benchmark
        assert torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32, "interpolation's weights are factors of a product"
        choose_kernels(deterministic=True, tf32=False)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8", "what torch asks for"
    finally:
        choose_kernels(deterministic=False, tf32=False)


# What fetches from a GPU, or sends it what is on no page of its own: until it is there, the host waits.
WAITS = {
    "_local_scalar_dense", "equal", "index", "index_put_", "is_nonzero", "lift_fresh", "masked_select", "nonzero",
    "_unique2",
}  # fmt: skip
# Logging; and what is in the host's memory on a GPU too: the optimizers' step counters, images on their way.
MAY_WAIT = {"alarms.py:_look", "players.py:update", "upload.py:_fetch"}


class Called(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that reach a kernel, by name and by name with overload; and where the host would wait."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.names.update({name, f"{name}.{func._overloadname}"})
        if name == "bincount" and (kwargs or {}).get("weights", args[1] if len(args) > 1 else None) is not None:
            self.names.update(["bincount with weights"])
        if name in WAITS and not (places := own_frames()) & MAY_WAIT:
            self.waits[f"{name} in {' '.join(sorted(places))}"] += 1
        return func(*args, **(kwargs or {}))


def own_frames() -> set[str]:
    """Return file:function of the package's functions that are being called."""
    found, frame = set(), sys._getframe()
    while (before := frame.f_back) is not None:
        frame = before
        if frame.f_code.co_filename.startswith(f"{ROOT}/cirn_dist/"):
            found.add(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}")
    return found


def called_in_steps(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str
) -> tuple[dict[str, Counter[str]], Counter[str]]:
    """Walk a run in this process; returns what the steps of each stage have called, and where the host would wait."""
    few = ["source", "translate", "cir", "self_train"]
    lengths = [*(f"{stage}.iterations=4" for stage in few), "adapt.iterations=8"]  # weighted pixels from 5 on
    less = ["controls=false", "evaluate.adabn=false", "evaluate.panels=1", "translate.quality_images=2"]
    run = stage_run(folder, *less, *lengths, *overrides)
    found: dict[str, Counter[str]] = {}
    waits: Counter[str] = Counter()

    def watched(players: Any, turns: Any, *rest: Any, **options: Any) -> Any:
        with Called() as called:
            result = train_step(players, turns, *rest, **options)
        found.setdefault("+".join(turns), Counter()).update(called.names)
        waits.update(called.waits)
        return result

    monkeypatch.setattr(loop, "train_step", watched)
    run_pipeline(run)
    return found, waits


WAYS: tuple[tuple[str, ...], ...] = (
    (
        "translate.upsampling=resize", "translate.colour_match=true", "translate.colour_curve=true",
        "translate.colour_noise=true", "translate.lambda_identity=1", "adapt.focal_gamma=2",
        "self_train.source_weight=1", "self_train.lambda_adv=0.1", "self_train.lambda_kld=0.1",
        "self_train.lambda_entropy=0.1",
    ),
    (
        "model.backbone=resnet18", "model.norm=batch", "translate.gan=vanilla", "translate.semantic_target=logits",
        "translate.checkpoint_activations=true", "model.acm.residual=true", "source.augment.scales=[0.8,1.2]",
        "source.augment.crop=null", "adapt.seg_on=sum",
    ),
    (
        "model.backbone=mobilenet_v2", "translate.semantic_target=argmax", "model.acm.per_head=true",
        "engine.precision=bf16",
    ),
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=["own", "resnet", "mobilenet"])
def test_no_step_calls_what_has_no_deterministic_kernel_or_waits_for_the_device(
    way: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        found, waits = called_in_steps(tmp_path, monkeypatch, "engine.deterministic=true", *way)
        assert torch.are_deterministic_algorithms_enabled(), "in force while it trained"
    finally:
        choose_kernels(deterministic=False, tf32=False)
    assert found.keys() >= {"segmenter", "generators+discriminators", "segmenter+segmenter+discriminator"}
    for turns, called in found.items():
        assert called["convolution_backward"], f"{turns}: the watch sees backward"
        refused = {name for name in called if name in REFUSED or name == "bincount with weights"}
        assert not refused, f"{turns} calls {sorted(refused)}"
    assert not waits


def test_without_the_setting_the_steps_call_torchs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that runs begun before it go on with the same bits; and the watch above sees what it is to refuse."""
    found, waits = called_in_steps(tmp_path, monkeypatch)
    assert found["segmenter"].keys() >= {"upsample_bilinear2d_backward", "nll_loss2d_forward", "nll_loss2d_backward"}
    assert "reflection_pad2d_backward" in found["generators+discriminators"]
    assert not waits


def test_small_images_are_padded_alike(deterministic: None) -> None:
    x = values(1, 2, 3, 4)
    expected = F.pad(x, (0, 2, 0, 3), mode="replicate")
    assert torch.equal(pad_to(x, 6, 6), expected)
