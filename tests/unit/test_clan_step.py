"""Stage 2 with CLAN's constants on the real network: the five values of one step against CLAN's, transcribed.

Written from what CLAN's code does (Luo et al. 2019), in NumPy and float64 from the features on; the features against
a transcription of its ResNet-101 in plain functions.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from papersets import paper_run
from torch import Tensor

from cirn_dist import losses
from cirn_dist.engine.loop import Training
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.discriminators import PixelDiscriminator
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.domains import open_domains

Array = npt.NDArray[np.float64]
ITERATION = 6000
HEIGHT, WIDTH = 64, 128


def np64(x: Tensor) -> Array:
    return x.detach().numpy().astype(np.float64)


def convolved(x: Array, weight: Array, bias: Array, *, stride: int = 1, padding: int, dilation: int = 1) -> Array:
    """(C, H, W) with (O, C, k, k) -> (O, h, w), tap by tap."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height, width = ((n - dilation * (k - 1) - 1) // stride + 1 for n in x.shape[1:])
    out = np.zeros((len(weight), height, width))
    for i, j in np.ndindex(k, k):
        rows, columns = (slice(at * dilation, at * dilation + stride * (n - 1) + 1, stride)
                         for at, n in ((i, height), (j, width)))  # fmt: skip
        out += np.tensordot(weight[:, :, i, j], x[:, rows, columns], 1)
    return out + bias[:, None, None]


def upsampled(x: Array, height: int, width: int) -> Array:
    """(C, h, w) -> (C, H, W), bilinear with aligned corners."""
    for axis, new in ((1, height), (2, width)):
        old = x.shape[axis]
        at = np.arange(new) * (old - 1) / (new - 1)
        low = np.minimum(at.astype(int), max(0, old - 2))
        share = np.expand_dims(at - low, [a for a in range(3) if a != axis])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, old - 1), axis) * share
    return x


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def clans_values(features: tuple[Array, Array], labels: npt.NDArray[np.int64], segmenter: Segmenter,
                 d: PixelDiscriminator) -> dict[str, float]:  # fmt: skip
    heads = [segmenter.classifier, segmenter.acm.classifiers[0]]
    weights = [[(np64(conv.weight), np64(conv.bias)) for conv in head.branches] for head in heads]

    def logits(f: Array, head: int) -> Array:
        small = sum(
            convolved(f, w, b, padding=r, dilation=r) for (w, b), r in zip(weights[head], (6, 12, 18, 24), strict=True)
        )
        return upsampled(small, HEIGHT, WIDTH)

    def focal(z: Array) -> float:
        valid = labels < 255
        p = np.take_along_axis(softmax(z), np.where(valid, labels, 0)[None], 0)[0][valid]
        return float(((1 - p) ** 2 * -np.log(p)).mean())

    def domain(p: Array) -> Array:
        convs = [layer for layer in d.layers if isinstance(layer, torch.nn.Conv2d)]
        for conv in convs:
            p = convolved(p, np64(conv.weight), np64(conv.bias), stride=2, padding=1)
            p = p if conv is convs[-1] else np.where(p > 0, p, 0.2 * p)
        return upsampled(p, HEIGHT, WIDTH)[0]

    s1, s2, t1, t2 = (logits(f, head) for f in features for head in (0, 1))
    a, b = softmax(t1), softmax(t2)
    r = 1 - (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))
    weight_map = 0.4 + 40 * r
    source_d, target_d = domain(softmax(s1 + s2)), domain(softmax(t1 + t2))
    u, v = (np.concatenate([part.ravel() for pair in head for part in pair]) for head in weights)
    damping = 1 - ITERATION / 100_000
    # CLAN calls the source 0 and the target 1; what counts is that both players swap them alike.
    as_source, as_target = (lambda z: np.log1p(np.exp(z))), (lambda z: np.log1p(np.exp(-z)))
    return {
        "seg": focal(s1) + focal(s2),
        "adv": 0.001 * damping * float((weight_map * as_source(-target_d)).mean()),
        "weight": 0.01 * damping * 2 * float(u @ v / np.linalg.norm(u) / np.linalg.norm(v) + 1),
        "d_s": float(as_source(-source_d).mean()),
        "d_t": float((weight_map * as_target(-target_d)).mean()),
    }


@pytest.fixture(scope="module")
def clan(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """What stage 2 hands to the loop under the preset, on the lineage's network with its random start."""
    run = paper_run(tmp_path_factory.mktemp("clan"), "gta5_cityscapes", "presets/clan", size=(WIDTH, HEIGHT))
    domains = open_domains(run)
    return adaptation(run, "adapt", domains.source, domains.target, run.config.adapt)


def test_the_five_values_of_clans_step(clan: Training) -> None:
    torch.manual_seed(1234)
    image, other = torch.rand(2, 1, 3, HEIGHT, WIDTH) * 2 - 1
    label = torch.randint(0, 19, (1, HEIGHT, WIDTH))
    label[:, :7] = 255
    segmenter = clan.players["segmenter"].networks["segmenter"]
    discriminator = clan.players["discriminator"].networks["discriminator"]
    batch = {"source": {"image": image, "label": label}, "target": {"image": other}}
    found: dict[str, float] = {}
    with torch.no_grad():
        features = tuple(np64(segmenter.features(x)[0]) for x in (image, other))
        for one in clan.passes(batch, ITERATION):
            found |= {name: float(value) for name, value in one.losses.items()}
        on_i = discriminator(segmenter(image).logits.softmax(dim=1))
        found["d_s"] = float(losses.adversarial_segmenter(on_i))
    found["d_t"] = found.pop("d") - found["d_s"]
    expected = clans_values(features, label[0].numpy(), segmenter, discriminator)
    assert found == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    assert expected["d_t"] > 5 * expected["d_s"], "the weights are large where nothing is learned yet"


def test_the_features_are_those_of_clans_resnet(clan: Training) -> None:
    # In double: 33 blocks of random weights, each normalised by few values, blow float32's rounding up.
    segmenter = copy.deepcopy(clan.players["segmenter"].networks["segmenter"]).double()
    state = segmenter.backbone.state_dict()

    def normed(x: Tensor, name: str) -> Tensor:
        return F.batch_norm(x, None, None, state[f"{name}.weight"], state[f"{name}.bias"], training=True)

    def block(x: Tensor, name: str, stride: int, dilation: int) -> Tensor:
        out = normed(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride), f"{name}.bn1").relu()
        out = F.conv2d(out, state[f"{name}.conv2.weight"], padding=dilation, dilation=dilation)
        out = normed(out, f"{name}.bn2").relu()
        out = normed(F.conv2d(out, state[f"{name}.conv3.weight"]), f"{name}.bn3")
        if f"{name}.downsample.0.weight" in state:
            x = normed(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
        return (out + x).relu()

    image = torch.rand(1, 3, 50, 71, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    bgr = (image.flip(1) + 1) * 127.5 - torch.tensor([104.00698793, 116.66876762, 122.67891434]).view(3, 1, 1)
    with torch.no_grad():
        x = normed(F.conv2d(bgr, state["conv1.weight"], stride=2, padding=3), "bn1").relu()
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        for layer, (blocks, stride, dilation) in enumerate(((3, 1, 1), (4, 2, 1), (23, 1, 2), (3, 1, 4)), start=1):
            for i in range(blocks):
                x = block(x, f"layer{layer}.{i}", stride if i == 0 else 1, dilation)
        found = segmenter.features(image)
    assert found.shape == x.shape == (1, 2048, 7, 10)
    torch.testing.assert_close(found, x, rtol=0, atol=5e-4)
