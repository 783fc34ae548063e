"""The parts of online self-training: the teacher's average, ClassMix, masks and strong augmentation.

The values of DACS and MIC are their authors' own functions', on inputs given by formulas (authors.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from authors import IMG, ONE, OTHER, TEACHER, Y, Z
from hypothesis import given
from hypothesis import strategies as st
from stagerun import stage_run

from cirn_dist import losses
from cirn_dist.config.groups.self_train import Online
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.seeds import uniforms
from cirn_dist.stages.segmenter import build_segmenter
from cirn_dist.stages.self_train.mixing import class_draws, mix, pasted
from cirn_dist.stages.self_train.strong import mask_draws, masked, strongly_augmented
from cirn_dist.stages.self_train.teacher import Labelled, follow, kept, label

Array = npt.NDArray[np.float64]
THRESHOLD = 0.6
CLASSES = [[0, 2, 255], [1, 4]]  # those that the authors' draw has chosen


def test_classmix_and_its_loss_are_dacs() -> None:
    student, labels = Z((2, 5, 8, 9)).detach(), Y((2, 5, 8, 9))
    one, other = IMG(8, 9, ONE), IMG(8, 9, OTHER)
    source, target = torch.stack([one, one * 1.1]), torch.stack([other, other * 0.9])
    inside = {"image": target, "label": torch.zeros_like(labels)}
    by_teacher = label(lambda _: SegOutput(Z((2, 5, 8, 9), TEACHER), None), inside, 0.9)
    share = by_teacher.weights.mean()  # DACS weighs both images of its step alike
    assert share.item() == pytest.approx(0.402777777778, rel=1e-7)
    chosen = [torch.isin(image, torch.tensor(classes)) for image, classes in zip(labels, CLASSES, strict=True)]
    paste = torch.stack(chosen)
    mixed = mix(source, labels, target, Labelled(by_teacher.labels, share.expand(2)), paste)
    assert paste.sum().item() == 63
    assert mixed.images.sum().item() == pytest.approx(59992.3609375, rel=1e-9)
    assert mixed.labels.sum().item() == 5576
    assert mixed.weights.sum().item() == pytest.approx(95.625, rel=1e-7)
    student.requires_grad_()
    loss = losses.weighted_supervision(SegOutput(student, None), mixed.labels, mixed.weights)
    loss.backward()
    assert loss.item() == pytest.approx(1.0587279774, rel=1e-7)
    assert student.grad is not None
    assert student.grad.abs().sum().item() == pytest.approx(0.6569013149, rel=1e-7)


def test_the_average_is_dacs() -> None:
    teacher, student = (torch.nn.ParameterList([torch.zeros(2, dtype=torch.float64)]) for _ in range(2))
    found = []
    for i in range(12):
        with torch.no_grad():
            student[0].copy_(torch.tensor([np.sin(0.7 * (i + 1)), np.cos(0.4 * (i + 1))]))
        follow(teacher, student, kept(i + 1, 0.9, 1, 1))
        found.append(teacher[0].sum().item())
    assert found[:4] == pytest.approx([1.56527868124, 1.62371756029, 1.49100074723, 1.19469771739], rel=1e-9)
    assert found[-1] < found[0]


def test_a_step_of_more_images_moves_the_teacher_further() -> None:
    late = 10**6
    assert kept(late, 0.99, 2, 2) == pytest.approx(0.99)
    assert kept(late, 0.99, 2, 8) == pytest.approx(0.99**4)
    assert kept(late, 0.99, 2, 1) ** 2 == pytest.approx(0.99)
    assert [kept(done, 0.99, 2, 2) for done in (1, 2, 4)] == [0, 0.5, 0.75]


@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_half_of_an_images_classes_is_pasted(classes: int, height: int, width: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, classes + 1, (3, height, width))
    labels, draws = np.where(drawn == classes, 255, drawn), class_draws(classes, seed, [0, 1, 2])
    found = pasted(torch.from_numpy(labels), draws).numpy()
    for image, chosen, draw in zip(labels, found, draws.numpy(), strict=True):
        present = sorted(set(image.flat), key=lambda c: draw[classes if c == 255 else c])
        wanted = present[: -(-len(present) // 2)]
        np.testing.assert_array_equal(chosen, np.isin(image, wanted))
    alone = pasted(torch.from_numpy(labels[1:2]), class_draws(classes, seed, [1]))
    np.testing.assert_array_equal(alone[0], found[1], "an image's choice is its own, whatever it shares a batch with")


@pytest.mark.parametrize(("size", "kept_pixels", "total"), [((16, 24), 224, 84584.3244195),
                                                             ((18, 27), 276, 96791.3432106)])  # fmt: skip
def test_masks_are_mics(size: tuple[int, int], kept_pixels: int, total: float) -> None:
    images = torch.stack([IMG(*size, ONE), IMG(*size, OTHER)])
    rows, columns = mask_draws(size, 4, 0, 0).shape
    n = np.arange(2 * rows * columns)
    draws = np.modf(np.sin(12.9898 * (n + 1)) * 43758.5453)[0] % 1
    black = torch.zeros(3, 1, 1, dtype=torch.float64)
    found = masked(images, torch.from_numpy(draws).view(2, rows, columns), 0.7, black)
    assert (found[:, 0] != 0).sum().item() == kept_pixels
    assert found.sum().item() == pytest.approx(total, rel=1e-9)


def test_what_is_masked_is_what_the_network_takes_for_nothing(tmp_path: Path) -> None:
    for backbone in ("tiny", "resnet101_caffe"):
        run = stage_run(tmp_path / backbone, f"model.backbone={backbone}", "model.weights=null")
        segmenter = build_segmenter(run, with_acm=False)
        images = torch.rand(2, 3, 16, 16) * 2 - 1
        hidden = masked(images, torch.tensor([[[0.0, 0.9]]] * 2), 0.5, segmenter.mean_colour)
        seen = segmenter.normalise(hidden)
        assert seen[..., :8].abs().max() < 1e-4
        torch.testing.assert_close(seen[..., 8:], segmenter.normalise(images)[..., 8:])


def test_each_image_has_changes_of_its_own_whatever_it_shares_a_batch_with() -> None:
    images, how = torch.rand(4, 3, 12, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1, Online()
    together = strongly_augmented(images, how, 7, "mixed", [0, 1, 2, 3])
    alone = torch.cat([strongly_augmented(images[k : k + 1], how, 7, "mixed", [k]) for k in range(4)])
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    assert together.min() >= -1 - 1e-5
    assert together.max() <= 1 + 1e-5
    again = strongly_augmented(images, how, 7, "masked", [0, 1, 2, 3])
    assert not torch.equal(again, together), "two versions of an image differ"


def test_how_often_an_image_is_changed() -> None:
    how = Online(jitter=0.25, jitter_share=0.8, blur_share=0.5)
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).expand(400, -1, -1, -1) * 2 - 1
    coloured = strongly_augmented(images, how.model_copy(update={"blur_share": 0.0}), 0, "mixed", list(range(400)))
    blurred = strongly_augmented(images, how.model_copy(update={"jitter": 0.0}), 0, "mixed", list(range(400)))
    shares = [(found != images).flatten(1).any(1).double().mean().item() for found in (coloured, blurred)]
    assert shares == pytest.approx([0.8, 0.5], abs=0.06)


def test_a_blur_is_a_gaussian() -> None:
    dot = torch.zeros(1, 3, 31, 31, dtype=torch.float64)
    dot[..., 15, 15] = 1
    how = Online(jitter=0.0, blur=(1.1, 1.1), blur_share=1.0)
    found = strongly_augmented(dot, how, 0, "mixed", [0])[0, 0].numpy()
    line = np.exp(-0.5 * (np.arange(-15, 16) / 1.1) ** 2)
    np.testing.assert_allclose(found, np.outer(line, line) / line.sum() ** 2, atol=2e-5)


def test_colours_change_within_the_strength() -> None:
    grey = torch.zeros(64, 3, 4, 4)  # half-bright: contrast, saturation and hue change nothing of it
    found = (
        strongly_augmented(grey, Online(jitter=0.2, jitter_share=1, blur_share=0), 1, "m", list(range(64))) + 1
    ) / 2
    brightness = found[:, 0, 0, 0].double().numpy() / 0.5
    expected = [1 + 0.2 * (2 * uniforms(7, 1, "m", k)[3] - 1) for k in range(64)]
    np.testing.assert_allclose(brightness, expected, rtol=1e-4)  # hue goes through HSV in float32
    assert brightness.min() < 0.85
    assert brightness.max() > 1.15
