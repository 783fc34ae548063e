"""`show config`: every setting with what it is; those that count images, not steps, say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cirn_dist.config.load import load
from cirn_dist.config.schema import Config, flatten, marked
from cirn_dist.config.section import Section
from cirn_dist.config.yamlfile import to_yaml
from cirn_dist.paper.settings import described, settings_table
from cirn_dist.paper.statements import judge

NAMES = {"iterations", "warmup", "decay_over", "after"}


def described_fields(group: type[Section]) -> list[tuple[str, str]]:
    found = []
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += described_fields(field.annotation)
        elif field.description:
            found.append((name, field.description))
    return found


@pytest.mark.parametrize("name", ["demo", "gta5_cityscapes", "streets_camvid_imagenet"])
def test_what_is_shown_can_be_run_and_is_the_same(name: str, tmp_path: Path) -> None:
    config = load(name)
    (tmp_path / "shown.yaml").write_text(described(config), encoding="utf-8")
    assert load(str(tmp_path / "shown.yaml")) == config


def test_every_description_is_shown_once_for_each_setting() -> None:
    text = described(load("demo"))
    for name, description in described_fields(Config):
        assert re.search(rf"({name}: .*# {re.escape(description)}|# {re.escape(description)}.*\n *{name}:)", text), name
    assert all(len(line) <= 150 for line in text.splitlines())


def test_settings_that_count_iterations_say_images_and_steps() -> None:
    """By their names: whatever is called so, or is due every so many, counts images."""
    counted = set(marked("iterations"))
    for key in flatten(load("demo").model_dump(mode="json")):
        name = key.rpartition(".")[2]
        assert (name in NAMES or name.endswith("every")) == (key in counted), key
    text = described(load("demo", ["source.iterations=150", "engine.images_per_step=4", "engine.log_every=41"]))
    assert "  iterations: 150  # images of each domain that the stage trains on; 38 steps of 4" in text
    assert "log_every: 41  # images between lines of metrics.jsonl; 11 steps of 4" in text
    assert "keep_every: 0  # images between checkpoints kept for good; 0 is none\n" in text
    alone = described(load("demo", ["engine.images_per_step=1", "engine.micro_batch=1"]))
    assert "steps of" not in alone, "a step is an image there"


def test_beside_the_paper_they_say_it_too() -> None:
    settings = load("demo", ["source.iterations=150"]).model_dump(mode="json")
    table = settings_table(judge(flatten(settings)))
    values = {str(key): str(value) for key, value in zip(*(column.cells for column in table.columns[:2]), strict=True)}
    assert values["source.iterations"] == "150 images"
    assert values["adapt.warmup"] == "40 images"
    assert values["evaluate.every"] == "0"
    assert values["model.acm.k"] == "2"


def test_it_is_the_same_configuration_as_is_written_into_a_run() -> None:
    config = load("smoke")
    lines = [line for line in described(config).splitlines() if not line.lstrip().startswith("#")]
    keys = [line.split(":")[0] for line in lines]
    written = [line.split(":")[0] for line in to_yaml(config.model_dump(mode="json")).splitlines() if ":" in line]
    assert [key for key in keys if key.strip() not in ("options", "score_options")] == [
        key for key in written if key.strip() not in ("options", "score_options", "appearance", "count")
    ]
