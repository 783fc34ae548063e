"""Which settings each stage sees: every one that results depend on, and all that the stage's code does read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stagerun import settings, stage_run

import cirn_dist.engine.saving
import cirn_dist.pipeline
from cirn_dist.chain import RESULTS, stages
from cirn_dist.config.schema import Config, flatten, within
from cirn_dist.config.section import Section
from cirn_dist.engine.run import Run
from cirn_dist.pipeline import run_pipeline
from cirn_dist.rundir.settings import NOT_BINDING, binding

# Read where it makes no difference: the name is the trackers', a network that goes on from another stage is given no
# weights, and the target that is trained on has no labels to translate.
NO_MATTER = ("name", "model.segmenter", "data.target.map_labels")
# A set of images is made by a trained network: what it is built with is fixed by its training, its weights are loaded.
LOADED = {"pseudo_label": ("model", "seed"), "render": ("translate", "seed")}


class Reads:
    """The settings that are read while a stage is at work, by dotted key; in place of a run's recorder."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.keys: dict[int, dict[str, Any]] = {}
        self.stage: str | None = None
        self.found: dict[str, set[str]] = {}
        self._name(config, "")

    def _name(self, section: Section, prefix: str) -> None:
        self.keys[id(section)] = {name: f"{prefix}{name}" for name in type(section).model_fields}
        for name in type(section).model_fields:
            if isinstance(value := vars(section)[name], Section):
                self._name(value, f"{prefix}{name}.")

    def read(self, section: Section, name: str) -> None:
        key = self.keys.get(id(section), {}).get(name)
        if self.stage is not None and key is not None and not isinstance(vars(section)[name], Section):
            self.found.setdefault(self.stage, set()).add(key)

    def come_to(self, stage: str) -> None:
        self.stage = stage

    def leave(self) -> None:
        self.stage = None

    def work(self, done: int, *, makes: bool) -> None:
        pass

    def reached(self, done: int) -> None:
        pass


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Reads:
    """Walk the mini run in this process, its settings watched."""
    run = stage_run(tmp_path, "controls=false", "evaluate.adabn=false", *request.param)
    watched = Reads(run.config)
    read, dump = Section.__getattribute__, Section.model_dump

    def reading(section: Section, name: str) -> Any:
        if name in type(section).model_fields:
            watched.read(section, name)
        return read(section, name)

    def dumping(section: Section, *arguments: Any, **options: Any) -> Any:
        for name in type(section).model_fields:
            watched.read(section, name)
        return dump(section, *arguments, **options)

    scoring = cirn_dist.pipeline.score_stage

    def score(run: Run, stage: str, *rest: Any) -> Any:
        watched.stage = None  # what scores depend on, they record themselves
        return scoring(run, stage, *rest)

    monkeypatch.setattr(Section, "__getattribute__", reading)
    monkeypatch.setattr(Section, "model_dump", dumping)
    monkeypatch.setattr(cirn_dist.pipeline, "score_stage", score)
    monkeypatch.setattr(cirn_dist.engine.saving, "config_fingerprint", lambda config: "")
    object.__setattr__(run, "recorder", watched)
    run_pipeline(run)
    return watched


@pytest.mark.parametrize(
    "reads",
    [
        (),
        ("translate.method=fda",),
        ("model.acm.k=0", "self_train.source_weight=1"),
        ("adapt.lambda_entropy=1", "adapt.max_square.weight=1", "adapt.robust_entropy.weight=1",
         "adapt.guidance.weight=1", "self_train.method=online", "self_train.online.mask_weight=1"),
    ],
    indirect=True,
)  # fmt: skip
def test_what_a_stages_code_reads_the_list_says_it_sees(reads: Reads) -> None:
    listed = {stage.name: stage for stage in stages(reads.config)}
    assert {"source", "cir", "adapt", "self_train"} <= reads.found.keys()
    assert ("pseudo_label" in reads.found) == (not reads.config.is_online)
    assert "source.lr" in reads.found["source"], "the watch sees what is read"
    assert "adapt.lambda_cos" in reads.found["adapt"]
    unlisted = {
        f"{name}: {key}"
        for name, keys in reads.found.items()
        for key in keys - NOT_BINDING
        if not listed[name].depends_on(key) and not within(key, (*NO_MATTER, *LOADED.get(name, ())))
    }
    assert not unlisted, sorted(unlisted)


def test_every_setting_that_results_depend_on_is_seen_by_something(tmp_path: Path) -> None:
    keys: set[str] = set(flatten(binding(settings(tmp_path).model_dump(mode="json"))))
    ways = [
        (),
        ("with_cir=false",),
        ("translate.method=fda",),
        ("self_train.lambda_adv=1", "self_train.source_weight=1"),
        ("self_train.method=online",),
    ]
    seers = [RESULTS, *(stage for way in ways for stage in stages(settings(tmp_path, *way)))]
    unseen = {key for key in keys if not any(stage.depends_on(key) for stage in seers)}
    assert not unseen
