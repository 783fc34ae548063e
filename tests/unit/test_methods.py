"""The field's methods as files of constants: what a stage pays in its first step is the method's formula.

Written again in NumPy and float64 from the networks' logits on; D's convolutions are the network's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import ROOT, Command
from numpy_losses import np_cross_entropy, softmax
from stagerun import settings, stage_run
from test_fourier import np_half_spectrum

from cirn_dist.chain import adapt_control, stage_titles, table_rows
from cirn_dist.config.load import load
from cirn_dist.config.schema import flatten
from cirn_dist.engine.loop import Training, fit
from cirn_dist.errors import ConfigError
from cirn_dist.measure.footprint import footprints
from cirn_dist.paper.statements import judge
from cirn_dist.paper.sweep import points
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.domains import open_domains
from cirn_dist.stages.segmenter import load_segmenter

Array = npt.NDArray[np.float64]
METHODS = sorted(file.stem for file in (ROOT / "configs/methods").glob("*.yaml") if file.stem != "lineage")


def cross_entropy(z: Array, labels: npt.NDArray[np.int64]) -> float:
    return float(np_cross_entropy(z, labels)[labels < 255].mean())


def information(z: Array) -> Array:
    p = softmax(z)
    return -p * np.log2(p + 1e-30) / math.log2(z.shape[1])


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(x))


class Step:
    """One image of either domain, the stage's networks, and what they make of them before any update."""

    def __init__(self, training: Training) -> None:
        self.segmenter = training.players["segmenter"].networks["segmenter"]
        self.training = training
        generator = torch.Generator().manual_seed(3)
        self.image, self.other = torch.rand(2, 1, 3, 40, 48, generator=generator, dtype=torch.float64) * 2 - 1
        self.labels = torch.randint(0, 11, (1, 40, 48), generator=generator)
        self.labels[:, :9] = 255
        with torch.no_grad():
            on_s, on_t = (self.segmenter(x) for x in (self.image, self.other))
        self.s, self.t, self.low = on_s.p1.numpy(), on_t.p1.numpy(), on_t.small.numpy()
        if self.segmenter.auxiliary is not None:
            assert on_s.aux is not None
            assert on_t.aux is not None
            self.aux_s, self.aux_t = on_s.aux.numpy(), on_t.aux.numpy()

    def paid(self, iteration: int = 0) -> dict[str, float]:
        part = {"k": torch.tensor([0])}
        batch = {"source": part | {"image": self.image, "label": self.labels}, "target": part | {"image": self.other}}
        with torch.no_grad():
            passes = self.training.passes(batch, iteration)
            return {name: value.item() for one in passes for name, value in one.losses.items()}

    def on_restyled(self, beta: float) -> Array:
        """Logits of the source image with the target image's low frequencies, by the authors' window."""
        own, other = (127.5 * (x[0].numpy() + 1) for x in (self.image, self.other))
        image = torch.from_numpy(np_half_spectrum(own, other, beta, "authors") / 127.5 - 1)
        with torch.no_grad():
            found: Array = self.segmenter(image[None]).p1.numpy()
        return found

    def d(self, maps: Array, name: str = "discriminator") -> Array:
        """D's own pixels, of maps that it pads to a side of 32."""
        net = self.training.players["discriminator"].networks[name]
        found: Array = net.layers(torch.from_numpy(maps)).detach().numpy()
        assert found.shape == (1, 1, 1, 1), "a 32nd of the image"
        return found


AUX = "discriminator_aux"
BACKBONE = dict.fromkeys(("adaptsegnet_multi", "minent_multi"), ("model.backbone=resnet18", "model.weights=null"))
# Of 40 rows four frequencies, where the methods' 0.01 has none.
SETTINGS = BACKBONE | {"fda_online": ("adapt.fda.beta=0.1",), "fda": ("translate.fda_beta=0.1",)}
EXPECTED: dict[str, Callable[[Step], dict[str, float]]] = {
    "adaptsegnet": lambda step: {
        "adv": 0.001 * softplus(-step.d(softmax(step.t))).mean(),
        "d": 0.5 * (softplus(-step.d(softmax(step.s))).mean() + softplus(step.d(softmax(step.t))).mean()),
    },
    "adaptsegnet_ls": lambda step: {
        "adv": 0.01 * ((step.d(softmax(step.t)) - 1) ** 2).mean(),
        "d": 0.5 * (((step.d(softmax(step.s)) - 1) ** 2).mean() + (step.d(softmax(step.t)) ** 2).mean()),
    },
    "advent": lambda step: {
        "adv": 0.001 * softplus(-step.d(information(step.t))).mean(),
        "d": 0.5 * (softplus(-step.d(information(step.s))).mean() + softplus(step.d(information(step.t))).mean()),
    },
    "adaptsegnet_multi": lambda step: {
        "seg_aux": 0.1 * cross_entropy(step.aux_s, step.labels.numpy()),
        "adv": 0.001 * softplus(-step.d(softmax(step.t))).mean(),
        "adv_aux": 0.0002 * softplus(-step.d(softmax(step.aux_t), AUX)).mean(),
        "d": 0.5 * (softplus(-step.d(softmax(step.s))).mean() + softplus(step.d(softmax(step.t))).mean()),
        "d_aux": 0.5
        * (softplus(-step.d(softmax(step.aux_s), AUX)).mean() + softplus(step.d(softmax(step.aux_t), AUX)).mean()),
    },
    "minent_multi": lambda step: {
        "seg_aux": 0.1 * cross_entropy(step.aux_s, step.labels.numpy()),
        "entropy": 0.001 * information(step.t).sum(1).mean(),
        "entropy_aux": 0.0002 * information(step.aux_t).sum(1).mean(),
    },
    "minent": lambda step: {"entropy": 0.001 * information(step.t).sum(1).mean()},
    "maxsquare": lambda step: {"max_square": -0.1 * (softmax(step.t) ** 2).mean() / 2},
    "maxsquare_iw": lambda step: {"max_square": 0.1 * image_wise(step.t)},
    "fda": lambda step: {"robust_entropy": 0.005 * ((information(step.low).sum(1) ** 2 + 1e-8) ** 2).mean()},
    "fda_online": lambda step: {
        "seg": cross_entropy(step.on_restyled(0.1), step.labels.numpy()),
        "robust_entropy": 0.005 * ((information(step.low).sum(1) ** 2 + 1e-8) ** 2).mean(),
    },
}


def image_wise(z: Array) -> float:
    """The weights pixel by pixel, as the authors' loop over classes has them."""
    (predicted,) = z.argmax(1)
    pixels = predicted.size
    weights = np.zeros(predicted.shape)
    for k in range(z.shape[1]):
        of = predicted == k
        weights[of] = 1 / max(of.sum() ** 0.2 * pixels**0.8, 1)
    return float(-(softmax(z)[0] ** 2 * weights).sum() / z.shape[1])


def test_an_auxiliary_classifier_is_trained_and_not_scored(tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", "adapt.init=pretrained", "adapt.augment.crop=[48, 40]", "adapt.iterations=4",
                    *BACKBONE["minent_multi"], method="minent_multi")  # fmt: skip
    domains = open_domains(run)
    training = adaptation(run, "adapt", domains.source, domains.target, run.config.adapt)
    segmenter = training.players["segmenter"].networks["segmenter"]
    assert segmenter.auxiliary.branches[0].in_channels == 256
    before = segmenter.auxiliary.branches[0].weight.detach().clone()
    fit(training, run)
    kept = run.finished("adapt").read("segmenter")
    assert not torch.equal(kept["auxiliary.branches.0.weight"], before)
    assert load_segmenter(run, "adapt").auxiliary is None
    assert segmenter.eval()(torch.zeros(1, 3, 40, 48)).aux is None
    goes_on = adaptation(run, "adapt_control", domains.source, domains.target, adapt_control(run.config))
    taken = goes_on.players["segmenter"].networks["segmenter"].auxiliary.branches[0].weight
    assert torch.equal(taken, kept["auxiliary.branches.0.weight"])


def test_a_backbone_without_a_middle_says_so(tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", "adapt.init=pretrained", method="advent_multi")
    domains = open_domains(run)
    with pytest.raises(ConfigError, match=r"adapt.auxiliary: .*no layer"):
        adaptation(run, "adapt", domains.source, domains.target, run.config.adapt)


@pytest.mark.parametrize("method", EXPECTED)
def test_the_first_step_pays_what_the_method_says(method: str, tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", "engine.precision=fp64", "adapt.init=pretrained", "adapt.augment.crop=null",
                    "cir.augment.crop=null", "model.acm.width=8", *SETTINGS.get(method, ()), method=method)  # fmt: skip
    domains = open_domains(run)
    step = Step(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt))
    assert step.segmenter.acm is None
    expected = {"seg": cross_entropy(step.s, step.labels.numpy())} | EXPECTED[method](step)
    assert step.paid() == {name: pytest.approx(float(value), rel=1e-6) for name, value in expected.items()}
    assert ("discriminator" in step.training.players) == ("d" in expected)


def test_the_robust_entropy_waits(tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", "adapt.init=pretrained", "engine.precision=fp64", "adapt.augment.crop=null",
                    "cir.augment.crop=null", "adapt.robust_entropy.after=8", *SETTINGS["fda"],
                    method="fda")  # fmt: skip
    domains = open_domains(run)
    step = Step(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt))
    assert step.paid(7)["robust_entropy"] == 0
    assert step.paid(8)["robust_entropy"] > 0


@pytest.mark.parametrize(("method", "key"), [("fda", "translate.fda_beta"), ("fda_online", "adapt.fda.beta")])
def test_a_window_without_a_frequency_is_refused(method: str, key: str, tmp_path: Path) -> None:
    short = ("adapt.augment.crop=[48, 33]", "cir.augment.crop=null")
    rows = {"fda": 40, "fda_online": 33}[method]
    with pytest.raises(ConfigError, match=rf"{key} 0.01 of {rows} pixels is less than one frequency: give 0.0") as told:
        settings(tmp_path, *short, method=method)
    least = float(str(told.value).split("give ")[1].split(" or")[0])
    assert int(rows * least) == 1
    settings(tmp_path, *short, f"{key}={least}", method=method)


def test_images_of_two_sizes_share_no_frequencies(tmp_path: Path) -> None:
    run = stage_run(tmp_path / "run", "adapt.init=pretrained", "adapt.augment.crop=null", "cir.augment.crop=null",
                    "engine.precision=fp64", *SETTINGS["fda_online"], method="fda_online")  # fmt: skip
    domains = open_domains(run)
    step = Step(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt))
    step.other = step.other[..., :32]
    with pytest.raises(ConfigError, match=r"adapt.fda: images of 48x40 and 32x40 .*adapt.augment.crop"):
        step.paid()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_with_both_tasks_of_the_paper(method: str) -> None:
    for task in ("gta5_cityscapes", "synthia_cityscapes"):
        config = load(f"{task}+{method}")
        assert config.name == f"{task}-{method}"
        judged = list(judge(flatten(config.model_dump(mode="json"))))
        if method != "cirn_online":
            said = [one for one in judged if one.statement.source == "method"]
            assert said, "its file's settings are its statements"
            assert not [one.key for one in said if one.differs]


def test_a_value_of_ones_own_is_shown_as_not_the_methods() -> None:
    changed = load("gta5_cityscapes+minent", ["adapt.lambda_entropy=0.01"])
    differ = [one for one in judge(flatten(changed.model_dump(mode="json"))) if one.differs]
    assert [(one.key, one.differs, one.statement.says) for one in differ] == [
        ("adapt.lambda_entropy", "here not 0.001", "configs/methods/minent")
    ]


@pytest.mark.parametrize(
    ("method", "rows"),
    [
        ("advent", ["Source only", "AdvEnt"]),
        ("dacs", ["Source only", "DACS"]),
        ("fda", ["Source only", "CIR", "CIR + robust entropy"]),
        ("fda_online", ["Source only", "FDA"]),
        ("cbst", ["Source only", "CBST", "CBST, round 2", "CBST, round 3"]),
        ("cirn_online", ["Source only", "CIR", "CIR + ASS", "CIR + ASS + online ST"]),
    ],
)
def test_the_table_has_the_methods_rows(method: str, rows: list[str]) -> None:
    config = load(f"gta5_cityscapes+{method}")
    assert [row.title for row in table_rows(config)] == rows
    names = [name for name, _ in stage_titles(config)]
    assert ("translate" in names) == (method == "cirn_online")
    for row in table_rows(config):
        assert row.control is None or row.control in names, "a control is trained"


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (["adapt.lambda_adv=0", "adapt.lambda_weight=0"], "no term"),
        (["adapt.guidance.weight=0.1", "model.with_acm=false"], "with_acm"),
        (["adapt.coarse=true"], "with_acm"),
        (["adapt.auxiliary.lambda_seg=0.1"], "lambda_entropy"),
        (["adapt.auxiliary.lambda_adv=0.1", "adapt.lambda_adv=0"], "auxiliary"),
        (["adapt.decay_over=4"], "decay_over"),
        (["with_adapt=false"], "init adapt"),
        (["method=''"], "method"),
        (["method=dacs", "self_train.augment.crop=[128, 128]"], "far larger than the images"),
    ],
)
def test_terms_that_do_not_go_together_are_refused(wrong: list[str], word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=word):
        settings(tmp_path, *wrong)


def test_methods_are_laid_on_any_configuration_and_in_sweeps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of that name.*advent"):
        load("demo+advemt")
    plus = tmp_path / "a+b.yaml"
    plus.write_text("extends: demo\nname: plus\n")
    assert load(str(plus)).name == "plus"
    assert load(f"{plus}+minent").name == "plus-minent"
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("bases: [demo+dacs, a+b.yaml, demo]\nseeds: [3]\n")
    found = points(str(sweep))
    assert [point.name for point in found] == ["demo-dacs-seed3", "a-b-seed3", "demo-seed3"]


@pytest.mark.parametrize("method", ["minent", "cbst"])
def test_a_method_runs_from_the_command_line(method: str, mini: Path, cirn_dist: Command, tmp_path: Path) -> None:
    short = ("adapt.iterations=8", "adapt.decay_over=null", "self_train.iterations=4", "adapt.augment.crop=[48, 40]",
             "self_train.augment={scales: [1.0], crop: [48, 40]}", "pseudo_label.rounds=2",
             "model.norm=frozen")  # fmt: skip
    done = cirn_dist("run", f"{mini}+{method}", *short, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    stages: dict[str, Any] = {folder.parent.name: folder for folder in (tmp_path / "run").glob("*/checkpoints")}
    wanted = {"minent": {"source", "source_control", "adapt"},
              "cbst": {"source", "self_train_control", "self_train", "self_train_2"}}  # fmt: skip
    assert stages.keys() == wanted[method]
    page = (tmp_path / "run/report.html").read_text()
    assert f"<span>Method</span>{method}" in page.replace("\n", "")


@pytest.mark.parametrize("method", METHODS)
def test_the_doctor_counts_the_memory_of_the_methods_own_stage(method: str) -> None:
    """At the paper's image sizes, with a small backbone: a step of every method can be rehearsed."""
    backbone = [] if method == "daformer" else ["model.backbone=resnet18", "model.weights=null"]
    config = load(f"gta5_cityscapes+{method}", backbone)
    stage = "adapt" if config.with_adapt and method != "cirn_online" else "self_train"
    (found,) = footprints(config, "bf16", only=[stage])
    assert found.stage == stage
    assert 0.3 < found.total / 2**30 < 8
    assert found.activations > found.parameters > 2**20
