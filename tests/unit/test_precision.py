"""The number format is a function of the hardware; under bf16 autocast the delicate arithmetic stays in float32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from accelerate import PartialState
from torch import Tensor, nn

from cirn_dist import losses
from cirn_dist.engine.join import join
from cirn_dist.errors import ConfigError
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.models.norm import InstanceNorm2d, convert
from cirn_dist.precision import Hardware, choose_precision, hardware, has_kernels
from cirn_dist.stages.adapt.adversary import probabilities

CUDA_12_6 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CUDA_13 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
V100, T4 = Hardware("cuda", (7, 0), CUDA_12_6), Hardware("cuda", (7, 5), CUDA_13)
A100, H100 = Hardware("cuda", (8, 0), CUDA_13), Hardware("cuda", (9, 0), CUDA_13)
OLD_CPU, NEW_CPU = Hardware("cpu"), Hardware("cpu", cpu_bf16=True)


@pytest.mark.parametrize(
    ("machine", "asked", "chosen"),
    [
        (V100, "auto", "fp16"),
        (V100, "fp32", "fp32"),
        (T4, "auto", "fp16"),
        (A100, "auto", "bf16"),
        (A100, "fp16", "fp16"),
        (H100, "auto", "bf16"),
        (H100, "fp64", "fp64"),
        (OLD_CPU, "auto", "fp32"),
        (OLD_CPU, "bf16", "bf16"),
        (NEW_CPU, "auto", "bf16"),
        (NEW_CPU, "fp32", "fp32"),
    ],
)
def test_what_each_machine_computes_in(machine: Hardware, asked: str, chosen: str) -> None:
    assert choose_precision(asked, machine) == chosen  # type: ignore[arg-type]


def test_the_precision_is_that_of_the_device_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with an A100 whose launcher was told --cpu, a run computes on the CPU, and in what the CPU can."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA A100-SXM4-40GB")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(CUDA_13))
    monkeypatch.setattr("cirn_dist.precision._cpu_has_bf16", lambda: False)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert hardware() == Hardware("cuda", (8, 0), CUDA_13, name="NVIDIA A100-SXM4-40GB")
    assert hardware(torch.device("cpu")).device == "cpu"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert hardware().device == "cpu", "what doctor looks at"
    PartialState._reset_state()
    try:
        runtime = join("auto")
        assert (runtime.device.type, runtime.precision) == ("cpu", "fp32")
    finally:
        PartialState._reset_state()


@pytest.mark.parametrize(
    ("machine", "asked", "reason"),
    [
        (NEW_CPU, "fp16", "fp16 needs a GPU; use fp32 or bf16 on CPUs"),
        (V100, "bf16", "bf16 does not exist on sm_70; use fp16 or auto"),
        (Hardware("cuda", (7, 0), CUDA_13), "auto", "no kernels for the GPU, sm_70.*for a V100 one for CUDA 12.6"),
    ],
)
def test_what_a_machine_cannot_do_is_refused(machine: Hardware, asked: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        choose_precision(asked, machine)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("capability", "archs", "fits"),
    [
        ((8, 9), ("sm_80",), True),
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80",), False),
        ((9, 0), ("sm_80", "compute_80"), True),
        ((10, 3), ("sm_90a", "sm_100"), True),
        ((9, 1), ("sm_90a",), False),
        ((12, 0), ("compute_120",), True),
        ((9, 0), ("gfx90a", "gfx942"), True),
        ((9, 0), (), True),
    ],
)
def test_which_kernels_run_on_which_gpu(capability: tuple[int, int], archs: tuple[str, ...], fits: bool) -> None:
    assert has_kernels(capability, archs) is fits


def logits(seed: int, channels: int = 5) -> Tensor:
    """Half precision holds them to three digits only: what is computed from them must not round again."""
    generator = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(2, channels, 6, 7, generator=generator)).bfloat16()


def test_softmax_cosine_distance_and_cross_entropies_are_float32_under_autocast() -> None:
    p1, p2, labels = logits(0), logits(1), torch.randint(0, 5, (2, 6, 7))
    d = logits(2, channels=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = [
            probabilities(SegOutput(p1.float(), p2.float())),
            losses.cosine_distance(p1, p2),
            losses.segmentation(p1, labels),
            losses.adversarial_segmenter(d, losses.pixel_weights(p1, p2)),
            losses.adversarial_discriminator(d, -d, losses.pixel_weights(p1, p2)),
            losses.gan(d, True, "vanilla"),
            losses.gan(d, True, "lsgan"),
        ]
    a, b, x = p1.double(), p2.double(), d.double()
    cosine = 1 - F.cosine_similarity(a.softmax(1), b.softmax(1), dim=1).unsqueeze(1)
    weights = 40 * cosine + 0.4
    expected = [
        (a + b).softmax(1),
        cosine,
        F.cross_entropy(a, labels),
        (weights * -F.logsigmoid(x)).mean(),
        -F.logsigmoid(x).mean() - (weights * F.logsigmoid(x)).mean(),
        -F.logsigmoid(x).mean(),
        (x - 1).square().mean(),
    ]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["batch", "frozen", "instance"])
def test_norms_are_computed_in_float32_under_autocast(kind: str) -> None:
    norm = InstanceNorm2d(3) if kind == "instance" else convert(nn.BatchNorm2d(3), kind)
    x = (300 + torch.randn(4, 3, 9, 8, generator=torch.Generator().manual_seed(3))).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = norm.train()(x)
    if kind == "frozen":
        expected = x.double() / (1 + 1e-5) ** 0.5
    else:
        dims = (2, 3) if kind == "instance" else (0, 2, 3)
        variance, mean = torch.var_mean(x.double(), dims, correction=0, keepdim=True)
        expected = (x.double() - mean) / (variance + 1e-5).sqrt()
    # The result may be rounded to bf16, 2^-9; statistics in bf16 would be wrong by more than the spread itself.
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("number", [1, 2])
def test_instance_norm_of_one_image_and_of_more_is_its_formula(
    number: int, layout: torch.memory_format, affine: bool
) -> None:
    generator = torch.Generator().manual_seed(4)
    norm = InstanceNorm2d(5, affine=affine).double()
    if affine:
        nn.init.normal_(norm.weight, generator=generator)
        nn.init.normal_(norm.bias, generator=generator)
    x = torch.randn(number, 5, 7, 6, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    x.requires_grad_()
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    expected = (x - mean) / (variance + 1e-5).sqrt()
    if affine:
        expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    found, gradient = norm(x), torch.randn(x.shape, generator=generator, dtype=torch.float64)
    inputs = (x, *norm.parameters())
    torch.testing.assert_close(found, expected)
    for one, other in zip(*(torch.autograd.grad(y, inputs, gradient) for y in (found, expected)), strict=True):
        torch.testing.assert_close(one, other)
    if number == 1:
        assert found.is_contiguous(memory_format=layout), "no copy to another order"
