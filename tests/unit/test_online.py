"""Online self-training: the teacher's average, ClassMix, strong augmentation, and the whole step.

The values of DACS and MIC are their authors' own functions', on inputs given by formulas (authors.py); all else
is written again in NumPy and float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from authors import IMG, ONE, OTHER, TEACHER, Y, Z
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st
from numpy_losses import np_cross_entropy, softmax
from runs import weights
from stagerun import logged, settings, stage_run, stop_in_the_first_step
from torch import Tensor

from cirn_dist import load, losses
from cirn_dist.checkpoint.store import Checkpoint, Store
from cirn_dist.config.groups.self_train import Online
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import StepResult
from cirn_dist.errors import CheckpointError, ConfigError, Stopped
from cirn_dist.models.deeplab import SegOutput
from cirn_dist.seeds import uniforms
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.segmenter import build_segmenter
from cirn_dist.stages.self_train.mixing import class_draws, mix, pasted
from cirn_dist.stages.self_train.online import online_self_training
from cirn_dist.stages.self_train.strong import mask_draws, masked, strongly_augmented
from cirn_dist.stages.self_train.teacher import Labelled, follow, kept, label

ALONE = (
    "with_cir=false", "with_adapt=false", "controls=false", "self_train.method=online", "self_train.init=pretrained",
    "self_train.source_weight=1", "self_train.online.threshold=0.1", "self_train.iterations=12",
    "self_train.online.mask_weight=0.5", "self_train.online.mask_block=8", "engine.checkpoint_every=1",
)  # fmt: skip
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


# The stage


def described(run: Run) -> Training:
    domains = open_domains(run)
    return online_self_training(run, domains.source, domains.target)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three steps, each of them kept."""
    run = stage_run(tmp_path_factory.mktemp("online") / "run", *ALONE, "engine.keep=9")
    fit(described(run), run)
    return run


def test_the_losses_of_a_step(tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", *ALONE, "engine.precision=fp64", "self_train.online.jitter=0",
                    "self_train.online.blur_share=0", f"self_train.online.threshold={THRESHOLD}")  # fmt: skip
    training = described(run)
    student, teacher = (training.players["segmenter"].networks[name] for name in ("segmenter", "teacher"))
    with torch.no_grad():
        for parameter in teacher.parameters():  # at the start they are alike: whose labels are trained on must show
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    generator = torch.Generator().manual_seed(0)
    image, other = torch.rand(2, 1, 3, 40, 48, generator=generator, dtype=torch.float64) * 2 - 1
    labels = torch.randint(0, 11, (1, 40, 48), generator=generator)
    labels[:, :7] = 255
    outside = torch.zeros(1, 40, 48, dtype=torch.int64)
    outside[:, -3:] = 255  # what a crop has over the target's border
    k = torch.tensor([5])
    batch = {"source": {"image": image, "label": labels, "k": k}, "target": {"image": other, "label": outside, "k": k}}
    with torch.no_grad():
        found = {name: value.item() for one in training.passes(batch, 4) for name, value in one.losses.items()}

        def logits(net: Any, x: Tensor) -> list[Array]:
            return [head.numpy() for head in net(x).heads]

        heads = logits(student, image)
        p = softmax(sum(logits(teacher, other)))
        pseudo = np.where(outside.numpy() == 255, 255, p.argmax(1))
        share = (p.max(1)[:, :-3] >= THRESHOLD).mean()
        assert 0.02 < share < 0.98, "the threshold divides the pixels"
        draws, present = uniforms(12, run.config.seed, "classmix", 5), [*range(11), 255]
        chosen = [present[i] for i in np.argsort(draws)[:6]]
        paste = np.isin(labels.numpy(), chosen)
        mixed = torch.from_numpy(np.where(paste[:, None], image.numpy(), other.numpy()))
        mixed_labels, pixel_weights = np.where(paste, labels.numpy(), pseudo), np.where(paste, 1, share)
        on_mixed = logits(student, mixed)
        cells = uniforms(5 * 6, run.config.seed, "mask", 5).reshape(5, 6) > run.config.self_train.online.mask_ratio
        keep = cells.repeat(8, 0).repeat(8, 1)
        hidden = torch.where(torch.from_numpy(keep), other, student.mean_colour)
        on_hidden = logits(student, hidden)
    assert found == {
        "seg": pytest.approx(sum(np_cross_entropy(z, labels.numpy())[:, 7:].mean() for z in heads), rel=1e-9),
        "mix": pytest.approx(
            sum((pixel_weights * np_cross_entropy(z, mixed_labels)).mean() for z in on_mixed), rel=1e-6
        ),
        "mask": pytest.approx(0.5 * sum((share * np_cross_entropy(z, pseudo)).mean() for z in on_hidden), rel=1e-6),
    }


def test_the_teacher_of_every_checkpoint_is_the_average_of_its_students(trained: Run) -> None:
    store = trained.store("self_train")
    teacher: dict[str, Array] = {}
    names = [name for name, _ in described(trained).players["segmenter"].networks["teacher"].named_parameters()]
    steps = sorted(store.folder.glob("step-*"))
    assert len(steps) == 3
    for done, path in enumerate(steps, start=1):
        checkpoint = Checkpoint.open(path)
        student = {name: checkpoint.read("segmenter")[name].double().numpy() for name in names}
        keep = min(1 - 1 / done, 0.99 ** (4 / 2))
        teacher = {name: keep * teacher.get(name, 0) + (1 - keep) * student[name] for name in names}
        kept_one = checkpoint.read("teacher")
        for name in names:
            np.testing.assert_allclose(kept_one[name].double().numpy(), teacher[name], rtol=1e-6, atol=1e-8)
    moved = max(float(np.abs(teacher[name] - student[name]).max()) for name in names)
    assert moved > 1e-5, "teacher and student are two"


def test_a_step_that_is_skipped_does_not_move_the_teacher(tmp_path: Path) -> None:
    training = described(stage_run(tmp_path / "run", *ALONE))
    student, teacher = (training.players["segmenter"].networks[name] for name in ("segmenter", "teacher"))
    with torch.no_grad():
        next(student.parameters()).add_(1)
    before = next(teacher.parameters()).clone()
    assert training.after_step is not None
    training.after_step(1, StepResult(skipped=["segmenter"]))
    assert torch.equal(next(teacher.parameters()), before)
    training.after_step(1, StepResult())
    assert torch.equal(next(teacher.parameters()), next(student.parameters()))


def test_stopped_and_resumed_it_ends_with_the_same_bits(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stage_run(tmp_path / "run", *ALONE, "engine.keep=9")
    with monkeypatch.context() as patched:
        stop_in_the_first_step(run, patched)
        with pytest.raises(Stopped):
            fit(described(run), run)
    run.stop.reason = None
    fit(described(run), run)
    expected = weights(trained.folder, ("self_train",))
    assert expected.keys() == {f"self_train/{name}.safetensors" for name in
                               ("segmenter", "segmenter.optimizer", "teacher")}  # fmt: skip
    assert weights(run.folder, ("self_train",)) == expected


def test_a_micro_batch_of_two_is_two_of_one(trained: Run, tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", *ALONE, "engine.micro_batch=2")
    fit(described(run), run)
    for component in ("segmenter", "teacher"):
        one, other = (r.finished("self_train").read(component) for r in (trained, run))
        for key, tensor in one.items():
            torch.testing.assert_close(other[key], tensor, rtol=1e-4, atol=1e-6)
    for before, after in zip(logged(trained, "self_train"), logged(run, "self_train"), strict=True):
        assert after["losses"] == pytest.approx(before["losses"], rel=1e-4)


@pytest.mark.parametrize("labels", [255, 0])
def test_images_without_labels_cost_nothing(labels: int, tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", *ALONE, "self_train.online.threshold=1")
    training = described(run)
    image, flat = torch.zeros(1, 3, 40, 48), torch.full((1, 40, 48), labels)
    part = {"image": image, "label": flat, "k": torch.tensor([0])}
    nowhere = part | {"label": torch.full((1, 40, 48), 255)}
    found: dict[str, float] = {}
    for one in training.passes({"source": part, "target": nowhere}, 0):
        torch.stack(list(one.losses.values())).sum().backward()
        found |= {name: value.item() for name, value in one.losses.items()}
    assert found["mask"] == 0
    assert (found["mix"] == 0) == (labels == 255)
    gradients = [p.grad for p in training.players["segmenter"].parameters if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_in_half_precision_it_is_the_same_training(trained: Run, tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", *ALONE, "engine.precision=bf16")
    fit(described(run), run)
    teacher = run.finished("self_train").read("teacher")
    assert {tensor.dtype for tensor in teacher.values() if tensor.is_floating_point()} == {torch.float32}
    for before, after in zip(logged(trained, "self_train"), logged(run, "self_train"), strict=True):
        assert after["losses"] == pytest.approx(before["losses"], rel=0.05)


def test_a_crop_over_the_border_is_not_learned(tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", *ALONE, "self_train.augment.crop=[64,56]", "self_train.augment.scales=[1.0]")
    target = described(run).streams["target"][3]
    assert target["label"].shape == (56, 64)
    assert (target["label"] == 0).sum() == 40 * 48
    assert (target["image"][:, target["label"] == 255] == 0).all()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (["self_train.lambda_adv=0.001"], "lambda_adv"),
        (["self_train.lambda_kld=0.1"], "lambda_kld"),
        (["pseudo_label.rounds=2"], "rounds"),
        (["self_train.augment.crop=null"], "crop"),
        (["self_train.init=adapt"], "with_adapt"),
        (
            ["self_train.source_weight=0", "self_train.online.feature_distance.weight=1", "model.weights=x"],
            "source_weight",
        ),
        (["self_train.online.blur=[2.0,1.0]"], "range"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong: list[str], word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=word):
        settings(tmp_path, *ALONE, *wrong)


@pytest.fixture(scope="module")
def walked(mini: Path, cirn_dist: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command line's run of a chain that has no other stage than the source and this one, with its control."""
    out = tmp_path_factory.mktemp("walked") / "run"
    done = cirn_dist("run", mini, *ALONE, "controls=true", "self_train.title=DACS", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "DACS: the student" in done.stdout
    return out


def test_the_run_has_the_methods_rows_and_nothing_else(walked: Path) -> None:
    rows = json.loads((walked / "results.json").read_text())["rows"]
    assert [(row["stage"], row["title"]) for row in rows] == [("source", "Source only"), ("self_train", "DACS")]
    assert rows[1]["control"]["title"] == "Source only, trained as long"
    assert rows[1]["teacher"]["miou"] > 0
    assert rows[1]["teacher"] != {key: rows[1][key] for key in rows[1]["teacher"]}
    stages = {folder.parent.name for folder in walked.glob("*/checkpoints")}
    assert stages == {"source", "self_train_control", "self_train"}
    page = (walked / "report.html").read_text()
    assert "its teacher" in page
    assert "Target pixels it is certain of" in page
    assert "masked target images" in page


def test_either_network_predicts(walked: Path, cirn_dist: Command, tmp_path: Path) -> None:
    student, teacher = load(walked), load(walked, teacher=True)
    assert student.fingerprint == teacher.fingerprint
    one, other = (dict(net.network.named_parameters()) for net in (student, teacher))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    saved = Store(walked / "self_train/checkpoints").latest()
    assert saved is not None
    assert all(torch.equal(tensor, saved.read("teacher")[name]) for name, tensor in other.items())
    scored = walked / "data"
    packed = next(scored.glob("*scor*"), None) or next(path for path in scored.iterdir() if "scored" in path.name)
    done = cirn_dist("evaluate", walked, packed, "--teacher", "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scores.json").read_text())[0]["scores"]["miou"]
    rows = json.loads((walked / "results.json").read_text())["rows"]
    assert found == pytest.approx(rows[1]["teacher"]["miou"], abs=1e-9)


def test_a_stage_without_a_teacher_says_so(walked: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no teacher.*but segmenter"):
        load(walked, stage="source", teacher=True)
