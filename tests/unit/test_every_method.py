"""What holds for the training of every method of configs/methods: a stop, accumulation and half precision."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import DOUBLE
from runs import IN_DOUBLE, assert_close, weights
from stagerun import logged, stage_run, stop_in_the_first_step
from test_methods import METHODS, SETTINGS

from cirn_dist.chain import stage_titles
from cirn_dist.checkpoint.store import Store
from cirn_dist.engine.run import Run
from cirn_dist.errors import Stopped
from cirn_dist.pipeline import run_pipeline

SHORT = (
    "controls=false", "evaluate.adabn=false", "evaluate.panels=0", "source.iterations=4", "cir.iterations=4",
    "cir.augment={scales: [1.0], crop: [32, 24]}", "cir.decay_over=null",
    "adapt.iterations=8", "adapt.decay_over=null", "adapt.augment={scales: [0.8, 1.25], crop: [32, 24]}",
    "self_train.iterations=8", "self_train.decay_over=null", "self_train.online.threshold=0.1",
    "self_train.augment={scales: [0.8, 1.25], crop: [32, 24]}", "pseudo_label.rounds=1", "engine.images_per_step=4",
    "engine.log_every=4", "engine.checkpoint_every=4", "model.norm=frozen",
)  # fmt: skip
OWN = SETTINGS | {
    "advent_multi": SETTINGS["minent_multi"],
    "cirn_online": ("translate.iterations=4",),
    "crst_lrent": ("self_train.source_weight=0.5",),  # beside labels that are classes
    "intrada": ("pseudo_label.easy_rare=[building, car]",),
}
# DAFormer's own test has its transformer, whose weights its features stay near to; of the three with an auxiliary
# classifier, on a larger network, one has the parts of all.
TRAINED = [method for method in METHODS if method not in ("daformer", "adaptsegnet_multi", "minent_multi")]


def started(method: str, folder: Path, *overrides: str) -> Run:
    return stage_run(folder, *SHORT, *OWN.get(method, ()), DOUBLE, *overrides, method=method)


@dataclass(frozen=True)
class Walked:
    """A method's run in double precision, walked to its end without a break; `stage` is its last."""

    method: str
    folder: Path
    stage: str

    def last_again(self, folder: Path, *overrides: str) -> Run:
        """Return a run in which all but the last stage's training is done."""
        shutil.copytree(self.folder, folder)
        shutil.rmtree(folder / self.stage)
        return started(self.method, folder, *overrides)

    @property
    def components(self) -> list[str]:
        """What the last stage's checkpoint has, optimizers aside."""
        return [name.split("/")[1].removesuffix(".safetensors")
                for name in weights(self.folder, (self.stage,)) if "optimizer" not in name]  # fmt: skip


@pytest.fixture(scope="module", params=TRAINED)
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    run = started(request.param, tmp_path_factory.mktemp(request.param) / "run")
    run_pipeline(run)
    yield Walked(request.param, run.folder, stage_titles(run.config)[-1][0])
    shutil.rmtree(run.folder)


def test_stopped_it_goes_on_with_the_same_bits(walked: Walked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = walked.last_again(tmp_path / "run")
    with monkeypatch.context() as patched:
        stop_in_the_first_step(run, patched)
        with pytest.raises(Stopped):
            run_pipeline(run)
    newest = Store(run.folder / walked.stage / "checkpoints").latest()
    assert newest is not None
    assert newest.state["step"] == 1, "half of it is left"
    run.stop.reason = None
    run_pipeline(run)
    assert weights(run.folder, (walked.stage,)) == weights(walked.folder, (walked.stage,))
    assert (run.folder / "results.json").read_text().count("miou") > 1


def test_micro_batches_of_two_are_two_of_one(walked: Walked, tmp_path: Path) -> None:
    run = walked.last_again(tmp_path / "run", "engine.micro_batch=2")
    run_pipeline(run)
    for component in walked.components:
        assert_close(walked.folder, run.folder, walked.stage, component, within=IN_DOUBLE)


def test_in_half_precision_it_is_the_same_training(walked: Walked, tmp_path: Path) -> None:
    run = walked.last_again(tmp_path / "run", "engine.precision=bf16")
    run_pipeline(run)
    exact = started(walked.method, walked.folder)
    first, half = (logged(one, walked.stage)[0]["losses"] for one in (exact, run))
    assert half == pytest.approx(first, rel=0.05, abs=1e-4)
    for component in walked.components:
        tensors = [t for t in run.finished(walked.stage).read(component).values() if t.is_floating_point()]
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
        assert all(torch.isfinite(tensor).all() for tensor in tensors)
