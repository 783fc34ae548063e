"""Every loss against an independent float64 NumPy transcription of its equation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy_losses import Array, np64, np_segmentation, random, random_labels, sigmoid, softmax
from torch import Tensor

from cirn_dist import losses
from cirn_dist.choices import SemanticTarget
from cirn_dist.models.classifier import Classifier
from cirn_dist.models.deeplab import SegOutput


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
def test_semantic_consistency_pulls_only_on_the_translation(target: SemanticTarget) -> None:
    logits, source = random(2, 5, 6, 7, seed=1).requires_grad_(), random(2, 5, 6, 7, seed=2).requires_grad_()
    losses.semantic_consistency(logits, source, target).backward()
    assert logits.grad is not None
    assert source.grad is None


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


def test_an_image_of_one_labelled_pixel_costs_that_pixel() -> None:
    logits, labels = random(2, 5, 6, 7, seed=3), torch.full((2, 6, 7), 255)
    labels[0, 4, 2], labels[1] = 3, random_labels(1, 6, 7)[0]
    one = -logits[0].log_softmax(0)[3, 4, 2]
    alone = losses.segmentation(logits[1:], labels[1:])
    assert losses.segmentation(logits, labels).item() == pytest.approx((one.item() + alone.item()) / 2, rel=1e-6)
