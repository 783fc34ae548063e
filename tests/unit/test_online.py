"""Online self-training as a stage: what a step pays, written again in NumPy and float64, and what becomes of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import Command
from numpy_losses import np_cross_entropy, softmax
from runs import weights
from stagerun import logged, settings, stage_run, stop_in_the_first_step
from torch import Tensor

from cirn_dist import load
from cirn_dist.checkpoint.store import Checkpoint, Store
from cirn_dist.engine.loop import Training, fit
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import StepResult
from cirn_dist.errors import CheckpointError, ConfigError, Stopped
from cirn_dist.seeds import uniforms
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.self_train.online import online_self_training

ALONE = (
    "with_cir=false", "with_adapt=false", "controls=false", "self_train.method=online", "self_train.init=pretrained",
    "self_train.source_weight=1", "self_train.online.threshold=0.1", "self_train.iterations=12",
    "self_train.online.mask_weight=0.5", "self_train.online.mask_block=8", "engine.checkpoint_every=1",
)  # fmt: skip
Array = npt.NDArray[np.float64]
THRESHOLD = 0.6


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
