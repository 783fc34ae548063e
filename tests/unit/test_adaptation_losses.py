"""Stage 2's losses against an independent float64 NumPy transcription of their equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy_losses import Array, np64, np_distance, np_segmentation, np_upsample, random, random_labels, sigmoid, softmax
from torch import Tensor, nn

from cirn_dist import losses
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.models.discriminators import PixelDiscriminator


def test_cosine_distance_is_per_pixel_over_probabilities() -> None:
    l1, l2 = random(2, 5, 3, 4, seed=1), random(2, 5, 3, 4, seed=2)
    r = losses.cosine_distance(l1, l2)
    assert r.shape == (2, 1, 3, 4)
    np.testing.assert_allclose(np64(r)[:, 0], np_distance(np64(l1), np64(l2)), atol=1e-6)
    np.testing.assert_allclose(np64(losses.cosine_distance(l1, l1)), 0, atol=1e-6)
    near = l1 + 0.001 * l2  # where both heads agree, R is far below float32's resolution of 1
    exact = np_distance(np64(l1), np64(near))
    assert exact.max() < 1e-5
    np.testing.assert_allclose(np64(losses.cosine_distance(l1, near))[:, 0], exact, rtol=0.01, atol=1e-12)
    opposite = torch.tensor([50.0, -50.0]).view(1, 2, 1, 1)
    assert losses.cosine_distance(opposite, -opposite).item() == pytest.approx(1.0)


def test_adversarial_losses_are_eq_7() -> None:
    d_i, d_t = random(2, 1, 6, 7, seed=1), random(2, 1, 5, 4, seed=2)
    l1, l2 = random(2, 5, 5, 4, seed=3), random(2, 5, 5, 4, seed=4)
    weights = losses.pixel_weights(l1, l2, lambda_cos=40, epsilon=0.4)
    w = 40 * np_distance(np64(l1), np64(l2))[:, None] + 0.4
    d = -np.log(sigmoid(np64(d_i))).mean() - (w * np.log(1 - sigmoid(np64(d_t)))).mean()
    g = -(w * np.log(sigmoid(np64(d_t)))).mean()
    assert losses.adversarial_discriminator(d_i, d_t, weights).item() == pytest.approx(d, rel=1e-5)
    assert losses.adversarial_segmenter(d_t, weights).item() == pytest.approx(g, rel=1e-5)
    plain = -np.log(sigmoid(np64(d_i))).mean() - np.log(1 - sigmoid(np64(d_t))).mean()
    assert losses.adversarial_discriminator(d_i, d_t).item() == pytest.approx(plain, rel=1e-6)
    assert losses.adversarial_segmenter(d_t).item() == pytest.approx(-np.log(sigmoid(np64(d_t))).mean(), rel=1e-6)


def test_the_segmenter_feels_the_weight_map_and_the_discriminator_does_not() -> None:
    d_i, d_t = random(1, 1, 5, 4, seed=1), random(1, 1, 5, 4, seed=2)

    def gradient(loss_of_weights) -> Tensor | None:
        l1 = random(1, 5, 5, 4, seed=3).requires_grad_()
        loss = loss_of_weights(losses.pixel_weights(l1, random(1, 5, 5, 4, seed=4)))
        if loss.requires_grad:
            loss.backward()
        return l1.grad

    attached = gradient(lambda w: losses.adversarial_segmenter(d_t, w))
    assert attached is not None
    assert attached.abs().max() > 0
    assert gradient(lambda w: losses.adversarial_segmenter(d_t, w, detach_weights=True)) is None
    assert gradient(lambda w: losses.adversarial_discriminator(d_i, d_t, w)) is None


def test_weight_discrepancy_is_one_plus_the_cosine_of_all_weights_and_biases() -> None:
    torch.manual_seed(0)
    c, a, b = Classifier(4, 3), Classifier(4, 3), Classifier(4, 3)

    def flat(module: nn.Module) -> Array:
        return np.concatenate([np64(p).ravel() for p in module.parameters()])

    def cosine(x: Array, y: Array) -> float:
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    one = cosine(flat(c), flat(a)) + 1
    assert losses.weight_discrepancy(c, [a]).item() == pytest.approx(one, abs=1e-6)
    both = (one + cosine(flat(c), flat(b)) + 1) / 2
    assert losses.weight_discrepancy(c, [a, b]).item() == pytest.approx(both, abs=1e-6)
    assert losses.weight_discrepancy(c, [c]).item() == pytest.approx(2.0)


def test_the_whole_stage_2_step_has_the_values_of_a_numpy_transcription() -> None:
    torch.manual_seed(0)
    i1, i2, t1, t2 = (random(2, 5, 40, 33, seed=s) for s in range(4))
    labels = random_labels(2, 40, 33)
    d = PixelDiscriminator(5, width=4)
    c, a = Classifier(6, 5), Classifier(6, 5)
    damping, lambda_adv, lambda_weight = 1 - 6000 / 100_000, 0.001, 0.02

    weights = losses.pixel_weights(t1, t2)
    total = losses.sum_of(
        [
            losses.supervision(SegOutput(i1, i2), labels),
            lambda_adv * damping * losses.adversarial_segmenter(d((t1 + t2).softmax(1)), weights),
            lambda_weight * damping * losses.weight_discrepancy(c, [a]),
        ]
    )
    d_loss = losses.adversarial_discriminator(d((i1 + i2).softmax(1)), d((t1 + t2).softmax(1)), weights)

    def np_conv(x: Array, conv: nn.Conv2d) -> Array:
        assert conv.bias is not None
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        k = np64(conv.weight)
        height, width = ((n - 4) // 2 + 1 for n in x.shape[2:])
        out = np.zeros((len(x), len(k), height, width))
        for y, z in np.ndindex(height, width):
            out[:, :, y, z] = np.einsum("nchw,ochw->no", x[:, :, 2 * y : 2 * y + 4, 2 * z : 2 * z + 4], k)
        return out + np64(conv.bias)[None, :, None, None]

    def np_d(logits: Array) -> Array:
        x = softmax(logits)
        convs = [m for m in d.modules() if isinstance(m, nn.Conv2d)]
        for conv in convs[:-1]:
            x = np_conv(x, conv)
            x = np.where(x > 0, x, 0.2 * x)
        return np_upsample(np_conv(x, convs[-1]), 40, 33)

    n1, n2, m1, m2 = (np64(x) for x in (i1, i2, t1, t2))
    w = 40 * np_distance(m1, m2)[:, None] + 0.4
    p_i, p_t = sigmoid(np_d(n1 + n2)), sigmoid(np_d(m1 + m2))
    u, v = (np.concatenate([np64(p).ravel() for p in m.parameters()]) for m in (c, a))
    expected = (
        np_segmentation(n1, labels.numpy())
        + np_segmentation(n2, labels.numpy())
        + 0.001 * 0.94 * -(w * np.log(p_t)).mean()
        + 0.02 * 0.94 * (u @ v / np.linalg.norm(u) / np.linalg.norm(v) + 1)
    )
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert d_loss.item() == pytest.approx(-np.log(p_i).mean() - (w * np.log(1 - p_t)).mean(), rel=1e-5)
