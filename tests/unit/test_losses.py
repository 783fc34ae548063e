"""Every loss against an independent float64 NumPy transcription of its equation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from cirn_dist import losses
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.models.discriminators import PixelDiscriminator

Array = npt.NDArray[np.float64]


def random(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def random_labels(*shape: int, classes: int = 5, seed: int = 0) -> Tensor:
    labels = torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))
    labels[..., :2, :] = 255
    labels[0, :, 0] = 255  # images of one batch have different numbers of valid pixels
    return labels


# The transcriptions: loops and logarithms as in the paper, no shared code.


def np64(x: Tensor) -> Array:
    return x.detach().numpy().astype(np.float64)


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def np_segmentation(logits: Array, labels: npt.NDArray[np.int64], gamma: float = 0.0) -> float:
    p = softmax(logits)
    images = []
    for n in range(len(labels)):
        pixels = [
            (1 - q) ** gamma * -np.log(q)
            for q in (p[n, labels[n, y, x], y, x] for y, x in np.ndindex(*labels[n].shape) if labels[n, y, x] != 255)
        ]
        images.append(sum(pixels) / len(pixels) if pixels else 0.0)
    return float(np.mean(images))


def np_distance(l1: Array, l2: Array) -> Array:
    a, b = softmax(l1), softmax(l2)
    return 1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def np_upsample(x: Array, height: int, width: int) -> Array:
    """Bilinear with aligned corners: a point's grid position is i * (in - 1) / (out - 1)."""

    def matrix(old: int, new: int) -> Array:
        m = np.zeros((new, old))
        for i in range(new):
            at = i * (old - 1) / (new - 1)
            low = min(int(at), old - 1)
            high = min(low + 1, old - 1)
            m[i, low] += 1 - (at - low)
            m[i, high] += at - low
        return m

    return np.einsum("yh,nchw,xw->ncyx", matrix(x.shape[2], height), x, matrix(x.shape[3], width))


@pytest.mark.parametrize("real", [True, False])
def test_lsgan_is_the_mean_square_to_the_wanted_answer(real: bool) -> None:
    logits = random(2, 1, 3, 4)
    assert losses.gan(logits, real).item() == pytest.approx(np.mean((np64(logits) - real) ** 2), rel=1e-6)


def test_vanilla_gan_is_eqs_1_and_2() -> None:
    real, fake = random(2, 1, 3, 4, seed=1), random(2, 1, 3, 4, seed=2)
    expected = -(np.log(sigmoid(np64(real))).mean() + np.log(1 - sigmoid(np64(fake))).mean())
    assert losses.gan_discriminator(real, fake, "vanilla").item() == pytest.approx(expected / 2, rel=1e-6)
    fooled = -np.log(sigmoid(np64(fake))).mean()
    assert losses.gan(fake, True, "vanilla").item() == pytest.approx(fooled, rel=1e-6)


def test_lsgan_discriminator_is_half_the_sum() -> None:
    real, fake = random(2, 1, 3, 4, seed=1), random(2, 1, 3, 4, seed=2)
    expected = 0.5 * (np.mean((np64(real) - 1) ** 2) + np.mean(np64(fake) ** 2))
    assert losses.gan_discriminator(real, fake).item() == pytest.approx(expected, rel=1e-6)


def test_cycle_is_the_mean_absolute_difference() -> None:
    a, b = random(2, 3, 4, 5, seed=1), random(2, 3, 4, 5, seed=2)
    assert losses.cycle(a, b).item() == pytest.approx(np.abs(np64(a) - np64(b)).mean(), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0, 1.5])
def test_segmentation_is_eq_6_per_image(gamma: float) -> None:
    logits, labels = random(3, 5, 6, 7), random_labels(3, 6, 7)
    expected = np_segmentation(np64(logits), labels.numpy(), gamma)
    assert losses.segmentation(logits, labels, focal_gamma=gamma).item() == pytest.approx(expected, rel=1e-6)


def test_an_image_without_labels_costs_nothing_and_has_no_nan_gradient() -> None:
    logits = random(2, 5, 6, 7).requires_grad_()
    labels = random_labels(2, 6, 7)
    labels[1] = 255
    loss = losses.segmentation(logits, labels, focal_gamma=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(
        losses.segmentation(logits[:1], labels[:1], focal_gamma=2.0).item() / 2, rel=1e-6
    )
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1].abs().max() == 0
    assert losses.segmentation(logits, torch.full_like(labels, 255)).item() == 0


def test_supervision_adds_both_heads_or_supervises_their_sum() -> None:
    output, labels = SegOutput(random(2, 5, 6, 7, seed=1), random(2, 5, 6, 7, seed=2)), random_labels(2, 6, 7)
    assert output.p2 is not None
    one, two = np64(output.p1), np64(output.p2)
    separate = np_segmentation(one, labels.numpy()) + np_segmentation(two, labels.numpy())
    together = np_segmentation(one + two, labels.numpy())
    assert losses.supervision(output, labels).item() == pytest.approx(separate, rel=1e-6)
    assert losses.supervision(output, labels, on="sum").item() == pytest.approx(together, rel=1e-6)
    alone = np_segmentation(one, labels.numpy())
    assert losses.supervision(SegOutput(output.p1, None), labels).item() == pytest.approx(alone, rel=1e-6)


def test_regularisers_of_stage_3_by_hand() -> None:
    output, labels = SegOutput(random(3, 5, 6, 7, seed=1), random(3, 5, 6, 7, seed=2)), random_labels(3, 6, 7)
    labels[2] = 255
    assert output.p2 is not None
    kept = labels.numpy() != 255
    penalty, entropy = 0.0, 0.0
    for p in (softmax(np64(output.p1)), softmax(np64(output.p2))):
        of_image = [[-np.log(p[n, :, y, x]).mean() for y, x in np.argwhere(kept[n])] for n in range(3)]
        penalty += np.mean([np.mean(pixels) if pixels else 0.0 for pixels in of_image])
        of_image = [
            [-(p[n, :, y, x] * np.log(p[n, :, y, x])).sum() for y, x in np.argwhere(~kept[n])] for n in range(3)
        ]
        entropy += np.mean([np.mean(pixels) for pixels in of_image])
    assert losses.confidence_penalty(output, labels).item() == pytest.approx(penalty, rel=1e-5)
    assert losses.unlabelled_entropy(output, labels).item() == pytest.approx(entropy, rel=1e-5)
    one = SegOutput(output.p1, None)
    assert losses.confidence_penalty(one, torch.full_like(labels, 255)).item() == 0
    assert losses.unlabelled_entropy(one, torch.zeros_like(labels)).item() == 0
    certain = SegOutput(torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_(), None)
    losses.unlabelled_entropy(certain, torch.full((1, 1, 1), 255)).backward()
    assert torch.isfinite(certain.p1.grad).all()


def test_semantic_consistency_has_three_references() -> None:
    logits, source, labels = random(2, 5, 6, 7, seed=1), random(2, 5, 6, 7, seed=2), random_labels(2, 6, 7)
    truth = np_segmentation(np64(logits), labels.numpy())
    assert losses.semantic_consistency(logits, labels).item() == pytest.approx(truth, rel=1e-6)
    decision = np_segmentation(np64(logits), np64(source).argmax(1))
    assert losses.semantic_consistency(logits, source, "argmax").item() == pytest.approx(decision, rel=1e-6)

    def normalised(x: Array) -> Array:
        return (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)

    distance = np.mean((normalised(np64(logits)) - normalised(np64(source))) ** 2)
    assert losses.semantic_consistency(logits, source, "logits").item() == pytest.approx(distance, rel=1e-5)


@pytest.mark.parametrize("target", ["argmax", "logits"])
def test_semantic_consistency_pulls_only_on_the_translation(target: losses.SemanticTarget) -> None:
    logits, source = random(2, 5, 6, 7, seed=1).requires_grad_(), random(2, 5, 6, 7, seed=2).requires_grad_()
    losses.semantic_consistency(logits, source, target).backward()
    assert logits.grad is not None
    assert source.grad is None


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


def every_loss(images: slice) -> dict[str, Tensor]:
    """Each loss on some images of a fixed batch of three."""
    l1, l2 = (random(3, 5, 6, 7, seed=s)[images] for s in (1, 2))
    d1, d2 = (random(3, 1, 6, 7, seed=s)[images] for s in (3, 4))
    labels = random_labels(3, 6, 7)[images]
    weights = losses.pixel_weights(l1, l2)
    return {
        "lsgan": losses.gan(d1, True),
        "vanilla": losses.gan(d1, False, "vanilla"),
        "gan_discriminator": losses.gan_discriminator(d1, d2),
        "cycle": losses.cycle(l1, l2),
        "semantic": losses.semantic_consistency(l1, labels),
        "semantic_argmax": losses.semantic_consistency(l1, l2, "argmax"),
        "semantic_logits": losses.semantic_consistency(l1, l2, "logits"),
        "segmentation": losses.segmentation(l1, labels),
        "focal": losses.segmentation(l1, labels, focal_gamma=2),
        "supervision": losses.supervision(SegOutput(l1, l2), labels),
        "supervision_sum": losses.supervision(SegOutput(l1, l2), labels, on="sum"),
        "penalty": losses.confidence_penalty(SegOutput(l1, l2), labels),
        "entropy": losses.unlabelled_entropy(SegOutput(l1, l2), labels),
        "segmenter": losses.adversarial_segmenter(d1, weights),
        "discriminator": losses.adversarial_discriminator(d1, d2, weights),
    }


def test_a_batch_costs_the_mean_of_its_images() -> None:
    singles = [every_loss(slice(n, n + 1)) for n in range(3)]
    for name, value in every_loss(slice(None)).items():
        assert value.item() == pytest.approx(np.mean([s[name].item() for s in singles]), rel=1e-5), name


def test_losses_are_float32_under_autocast_and_on_half_precision_input() -> None:
    plain = every_loss(slice(None))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = every_loss(slice(None))
        discrepancy = losses.weight_discrepancy(Classifier(4, 3), [Classifier(4, 3)])
    assert discrepancy.dtype == torch.float32
    for name, value in under.items():
        assert value.dtype == torch.float32, name
        assert value.item() == pytest.approx(plain[name].item(), rel=1e-6), name
    saturated = torch.full((1, 1, 2, 2), 12.0, dtype=torch.float16)
    assert losses.adversarial_discriminator(-saturated, saturated).item() == pytest.approx(24.0, rel=1e-3)
    assert losses.gan(saturated, False, "vanilla").dtype == torch.float32
