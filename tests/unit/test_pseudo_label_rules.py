"""The rules of the pseudo labels against plain NumPy on all confidences; what stage 3 trains on; rounds."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console, RenderableType
from stagerun import logged, settings, stage_run

from cirn_dist.chain import adapt_control, stage_titles, table_rows
from cirn_dist.checkpoint.store import Store
from cirn_dist.config.groups.self_train import PseudoLabel
from cirn_dist.display.tables import outweighed, pseudo_label_table
from cirn_dist.engine.loop import fit
from cirn_dist.engine.run import Run
from cirn_dist.errors import ConfigError
from cirn_dist.stages.adapt.train import adaptation
from cirn_dist.stages.domains import Domains, open_domains
from cirn_dist.stages.self_train.confidence import BINS, EDGES, bins_of, confidence_histogram
from cirn_dist.stages.self_train.pseudo_label import pseudo_label
from cirn_dist.stages.self_train.rules import (
    adapted_thresholds,
    portion_of_round,
    select,
    thresholds,
)
from cirn_dist.stages.self_train.train import self_training

CRST = PseudoLabel(rule="crst", portion=0.2, portion_growth=0.05, portion_max=0.5)


def image(seed: int, classes: int = 5) -> np.ndarray:
    """Return softmax probabilities (C, 40, 30), the last class never predicted."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (classes, 40, 30))
    logits[-1] -= 20
    e = np.exp(logits - logits.max(0))
    return (e / e.sum(0)).astype(np.float32)


def histogram(probabilities: np.ndarray) -> np.ndarray:
    return confidence_histogram(probabilities.argmax(0).astype(np.uint8), probabilities.max(0), len(probabilities))


@pytest.mark.parametrize("number", [1, 2, 5, 9])
def test_crst_keeps_a_portion_that_grows_and_decides_relative_to_it(number: int) -> None:
    probabilities = image(number)
    portion = min(0.2 + 0.05 * (number - 1), 0.5)
    assert portion_of_round(CRST, number) == pytest.approx(portion)
    found = thresholds(histogram(probabilities), CRST, number)
    confidence, predicted = probabilities.max(0), probabilities.argmax(0)
    exact = np.ones(5)
    for c in range(4):
        values = np.sort(confidence[predicted == c])[::-1]
        exact[c] = values[int(np.floor(portion * len(values))) - 1]
    np.testing.assert_array_equal(found, EDGES[bins_of(exact)])
    assert found[4] == 1, "nobody predicted it"
    ratio = probabilities / found[:, None, None]
    label = np.where(ratio.max(0) >= 1, ratio.argmax(0), 255)
    assert (select(torch.from_numpy(probabilities), found, "crst").numpy() == label).mean() > 0.999
    assert portion * 0.9 < (label != 255).mean() < 2 * portion


def test_iast_adapts_from_image_to_image_as_its_code_does() -> None:
    rule = PseudoLabel(rule="iast")
    exact = found = np.full(5, 0.9)
    for seed in range(12):
        probabilities = image(seed)
        confidence, predicted = probabilities.max(0), probabilities.argmax(0)
        own = [
            np.percentile([exact[c], *confidence[predicted == c]], 100 * (1 - 0.2 * exact[c] ** 8)) for c in range(5)
        ]
        exact = 0.9 * exact + 0.1 * np.array(own)
        exact[exact >= 1] = 0.999
        found = adapted_thresholds(found, histogram(probabilities), rule)
        np.testing.assert_allclose(found, exact, atol=1e-3)
    assert found[4] == 0.9, "a class that is not there keeps its threshold"
    label = select(torch.from_numpy(probabilities), found, "iast").numpy()
    np.testing.assert_array_equal(label, np.where(confidence >= found.astype(np.float32)[predicted], predicted, 255))


def test_a_fixed_threshold_is_the_same_for_all_classes() -> None:
    probabilities = image(3)
    limits = thresholds(histogram(probabilities), PseudoLabel(rule="fixed", threshold=0.8))
    label = select(torch.from_numpy(probabilities), limits, "fixed").numpy()
    confident = probabilities.max(0) >= np.float32(0.8)
    np.testing.assert_array_equal(label, np.where(confident, probabilities.argmax(0), 255))


def test_a_set_in_which_nothing_is_predicted_has_thresholds() -> None:
    nothing = np.zeros((3, BINS), np.int64)
    for rule in ("bdl", "crst", "iast", "fixed"):
        assert np.isfinite(thresholds(nothing, PseudoLabel(rule=rule))).all()
        assert np.isfinite(adapted_thresholds(np.full(3, 0.9), nothing, PseudoLabel(rule=rule))).all()


ROUNDS = ("pseudo_label.rule=crst", "pseudo_label.rounds=2", "pseudo_label.portion=0.3",
          "pseudo_label.portion_growth=0.4", "adapt.init=pretrained", "self_train.source_weight=1",
          "self_train.lambda_adv=0.01", "self_train.lambda_kld=0.1", "self_train.lambda_entropy=3",
          "self_train.iterations=8", "adapt.iterations=8")  # fmt: skip


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Domains]:
    run = stage_run(tmp_path_factory.mktemp("rounds"), *ROUNDS)
    domains = open_domains(run)
    fit(adaptation(run, "adapt", domains.source, domains.target, run.config.adapt), run)
    for number in (1, 2):
        fit(self_training(run, domains.source, pseudo_label(run, domains.target, number), number), run)
    return run, domains


def test_a_later_round_labels_with_and_goes_on_from_the_one_before(two_rounds: tuple[Run, Domains]) -> None:
    run, domains = two_rounds
    stores = {s: Store(run.folder / s / "checkpoints").latest() for s in ("adapt", "self_train", "self_train_2")}
    assert list(stores["self_train"].state["parents"]) == ["adapt"]
    assert list(stores["self_train_2"].state["parents"]) == ["self_train"]
    first, second = (pseudo_label(run, domains.target, number) for number in (1, 2))
    made = [found.meta["made"]["segmenter"] for found in (first, second)]
    assert made == [stores["adapt"].fingerprint, stores["self_train"].fingerprint]
    labelled = [sum(found.meta["class_pixels"]) for found in (first, second)]
    assert labelled[1] > 1.5 * labelled[0], "the portion has grown from 0.3 to 0.7"


def test_kept_fractions_are_those_of_the_written_labels(two_rounds: tuple[Run, Domains]) -> None:
    run, domains = two_rounds
    summary = json.loads((run.folder / "pseudo_label/summary.json").read_text())
    labels = pseudo_label(run, domains.target).meta
    assert summary["classes"] == list(run.labels.classes)
    pixels = 48 * 40 * len(domains.target)
    assert sum(labels["class_pixels"]) + labels["ignored_pixels"] == pixels
    for share, predicted, count in zip(summary["kept"], summary["predicted"], labels["class_pixels"], strict=True):
        assert share * predicted * pixels == pytest.approx(min(count, predicted * pixels), abs=1e-3)
    counts = np.array(labels["class_pixels"])
    np.testing.assert_allclose(summary["labelled"], counts / counts.sum())


def test_classes_that_are_rarer_among_labels_are_named() -> None:
    summary = {"classes": ["road", "car", "pole", "sign"], "predicted": [0.6, 0.3, 0.1, 0], "kept": [1, 0.8, 0.5, 0],
               "labelled": [0.67, 0.27, 0.06, 0], "thresholds": [0.9, 0.9, 0.6, 0]}  # fmt: skip
    assert outweighed(summary).startswith("pole: rarer among the labels than among the predictions")
    assert "rarer" in plain(pseudo_label_table(summary))
    even = summary | {"labelled": summary["predicted"]}
    assert outweighed(even) == ""
    assert "rarer" not in plain(pseudo_label_table(even))
    del even["labelled"]
    assert outweighed(even) == "", "an earlier version's"


def plain(shown: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def test_supervision_on_the_cir_and_the_adversarial_term_are_kept_where_asked(two_rounds: tuple[Run, Domains]) -> None:
    run, _ = two_rounds
    for stage in ("self_train", "self_train_2"):
        assert set(logged(run, stage)[-1]["losses"]) == {"seg", "pseudo", "kld", "entropy", "adv", "weight", "d"}
        assert Store(run.folder / stage / "checkpoints").latest().read("discriminator")
    before = Store(run.folder / "adapt/checkpoints").latest().read("discriminator")
    after = Store(run.folder / "self_train/checkpoints").latest().read("discriminator")
    assert all((after[name] - before[name]).abs().max() < 0.05 for name in before), "D goes on from stage 2's"


def test_the_adversarial_term_needs_the_cir(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"self_train.lambda_adv needs self_train.source_weight"):
        settings(tmp_path, "self_train.lambda_adv=0.1", "self_train.source_weight=0")


def test_rounds_are_stages_and_rows_and_the_control_lasts_as_long_as_all(tmp_path: Path) -> None:
    config = settings(tmp_path, "pseudo_label.rounds=3")
    names = [name for name, _ in stage_titles(config)]
    assert names[-4:] == ["pseudo_label_2", "self_train_2", "pseudo_label_3", "self_train_3"]
    rows = table_rows(config)
    assert [(row.title, row.control) for row in rows[-3:]] == [
        ("CIR + ASS + ST", None), ("CIR + ASS + ST, round 2", None), ("CIR + ASS + ST, round 3", "adapt_control"),
    ]  # fmt: skip
    assert adapt_control(config).iterations == 3 * config.self_train.iterations
