"""Going on with other settings or other data: refused with what changed, unless each change is allowed by name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from stagerun import settings

from cirn_dist.config.schema import Config, flatten
from cirn_dist.errors import ConfigError
from cirn_dist.rundir.settings import CHANGES, CONFIG, NOT_BINDING, Claim, claim_data, config_fingerprint


def claim_settings(folder: Path, config: Config, allow: Sequence[str] = ()) -> None:
    """Take a folder in which a stage that is none of the chain's has trained, so that all of the chain is to come."""
    (folder / "earlier/checkpoints/step-00000001").mkdir(parents=True, exist_ok=True)
    claim = Claim(folder, config, allow)
    claim.take()
    claim.settle()


def changes(folder: Path) -> list[tuple[str, object, object]]:
    lines = [json.loads(line) for line in (folder / CHANGES).read_text("utf-8").splitlines()]
    return [(line["key"], line["was"], line["is"]) for line in lines]


def test_the_same_settings_go_on_and_free_ones_may_change(tmp_path: Path) -> None:
    before = settings(tmp_path)
    claim_settings(tmp_path, before)
    begun = (tmp_path / CONFIG).read_bytes()
    claim_settings(tmp_path, before)
    other = settings(tmp_path, "data.workers=7", "engine.keep=5", "engine.checkpoint_every=3")
    claim_settings(tmp_path, other)
    assert (tmp_path / CONFIG).read_bytes() == begun
    assert config_fingerprint(other) == config_fingerprint(before)
    assert config_fingerprint(settings(tmp_path, "seed=7")) != config_fingerprint(before)
    assert not (tmp_path / CHANGES).exists()


def test_free_settings_exist(tmp_path: Path) -> None:
    assert flatten(settings(tmp_path).model_dump(mode="json")).keys() >= NOT_BINDING


def test_each_change_is_named_and_allowed_by_name_or_group(tmp_path: Path) -> None:
    claim_settings(tmp_path, settings(tmp_path))
    other = settings(tmp_path, "adapt.lambda_cos=3", "adapt.epsilon=0.3", "seed=1")
    expected = "adapt.epsilon was 0.4, is 0.3, adapt.lambda_cos was 10.0, is 3.0, seed was 0, is 1"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        claim_settings(tmp_path, other)
    with pytest.raises(ConfigError, match=r"configuration: seed was 0, is 1; .*insist: --allow seed$"):
        claim_settings(tmp_path, other, ["adapt"])
    with pytest.raises(ConfigError, match=r"adapt\.epsilon was"):
        claim_settings(tmp_path, other, ["adapt.lambda_cos", "seed", "adapt.eps"])
    assert not (tmp_path / CHANGES).exists(), "what was refused is not recorded"
    claim_settings(tmp_path, other, ["adapt", "seed"])
    assert changes(tmp_path) == [("adapt.epsilon", 0.4, 0.3), ("adapt.lambda_cos", 10.0, 3.0), ("seed", 0, 1)]
    claim_settings(tmp_path, other)  # from here on these are the run's


def test_a_setting_that_did_not_exist_when_the_run_was_begun_has_its_default(tmp_path: Path) -> None:
    config = settings(tmp_path)
    claim_settings(tmp_path, config)
    saved = yaml.safe_load((tmp_path / CONFIG).read_text("utf-8"))
    del saved["adapt"]["epsilon"]
    del saved["controls"]
    (tmp_path / CONFIG).write_text(yaml.safe_dump(saved), "utf-8")
    claim_settings(tmp_path, config)
    saved["adapt"]["forgotten"] = 1
    (tmp_path / CONFIG).write_text(yaml.safe_dump(saved), "utf-8")
    with pytest.raises(ConfigError, match=r"adapt\.forgotten was 1, is None"):
        claim_settings(tmp_path, config)


def test_other_data_is_refused_by_name(tmp_path: Path) -> None:
    first, other = (
        {"data.source": "a" * 64, "data.target": "b" * 64},
        {"data.source": "a" * 64, "data.target": "c" * 64},
    )
    config = settings(tmp_path)
    claim_settings(tmp_path, config)
    claim_data(tmp_path, first, config)
    claim_data(tmp_path, first, config)
    with pytest.raises(ConfigError, match=r"other data: data\.target was b{12}\.\.\., is c{12}\.\.\.;"):
        claim_data(tmp_path, other, config)
    claim_data(tmp_path, other, config, ["data.target"])
    claim_data(tmp_path, other, config)
    assert [key for key, _, _ in changes(tmp_path)] == ["data.target"]
