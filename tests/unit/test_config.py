"""Configuration: the schema's errors, extends, overrides, and the shipped files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cirn_dist.config.load import load
from cirn_dist.config.recorded import dump, recorded
from cirn_dist.config.schema import flatten
from cirn_dist.data.pack.recipes import load_recipe
from cirn_dist.errors import ConfigError
from cirn_dist.paper.sweep import points
from cirn_dist.resources import folder

SHIPPED = sorted(p.relative_to(folder("configs")).with_suffix("") for p in folder("configs").rglob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED, ids=str)
def test_every_shipped_configuration_is_valid(name: Path, tmp_path: Path) -> None:
    if name.parts[0] == "sweeps":
        for point in points(str(name)):
            load(point.base, list(point.overrides))
    elif name.parts[0] in ("presets", "methods"):  # constants to lay on a configuration
        load(write(tmp_path / "child.yaml", f"extends: [gta5_cityscapes, {name}]"))
    else:
        load(str(name))


def test_the_defaults_are_the_papers_values() -> None:
    config = load("gta5_cityscapes")
    assert config.data.target.size == (1024, 512)
    assert config.data.source.size == (1280, 720)
    assert config.model.backbone == "resnet101"
    assert config.model.acm.k == 2
    assert (config.adapt.lambda_adv, config.adapt.lambda_cos, config.adapt.epsilon) == (0.001, 40, 0.4)
    assert (config.adapt.lr, config.adapt.momentum, config.adapt.weight_decay) == (2.5e-4, 0.9, 5e-4)
    assert (config.adapt.d_lr, config.adapt.d_betas) == (1e-4, (0.9, 0.99))
    assert (config.translate.lr, config.translate.betas) == (2e-4, (0.5, 0.999))
    assert config.adapt.iterations == 100_000
    assert (config.engine.images_per_step, config.engine.micro_batch) == (1, 1)


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("adapt.lambda_avd=1", "adapt.lambda_avd: unknown key"),
        ("adapt.lambda_adv=often", "adapt.lambda_adv: input should be a valid number"),
        ("adapt.lambda_adv=-1", "adapt.lambda_adv: input should be greater than or equal to 0 (got -1)"),
        ("model.backbone=vgg", "model.backbone: no backbone 'vgg': one of: resnet101"),
        ("engine.keep=1", "engine.keep: input should be greater than or equal to 2 (got 1)"),
        ("data.source=7", "data.source: must be a group of settings (got 7)"),
        ("engine.micro_batch=3", "engine.images_per_step must be a multiple of engine.micro_batch"),
        ("source.init=adapt", "source.init must be pretrained"),
        ("cir.init=cir", "cir.init and adapt.init come before the adapt stage"),
        ("adapt.init=adapt", "cir.init and adapt.init come before the adapt stage"),
        ("data.workers.many=1", "workers is a value, not a group of settings"),
        ("seed", "not a setting; write dotted.key=value"),
        ("seed={", "seed={: not YAML: expected the node content"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_command_line_and_the_key(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("demo", [override])
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert message.startswith("command line: ") or override in message
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_a_mapping_or_not_yaml_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a mapping"):
        load(write(tmp_path / "a.yaml", "- 1"))
    with pytest.raises(ConfigError, match="not YAML"):
        load(write(tmp_path / "b.yaml", "a: [1"))
    with pytest.raises(ConfigError, match=r"no such file.*gta5_cityscapes"):
        load(str(tmp_path / "absent.yaml"))


def test_a_name_of_a_shipped_file_is_not_hidden_by_a_file_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "demo", "a log")
    assert load("demo").name == "demo"
    write(tmp_path / "demo.yaml", "extends: demo\nseed: 9")
    assert load("demo.yaml").seed == 9, "with its ending it is a path"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: load("dmeo"), "dmeo: no such file.*did you mean demo"),
        (lambda: load("nowhere/x.yaml"), r"nowhere/x.yaml: no such file.*one of: demo, gta5_cityscapes"),
        (lambda: points("tabel3_k"), "did you mean table3_k"),
        (
            lambda: points("mars"),
            "one of: epsilon, lambda_cos, methods_240, methods_camvid, study_240, table3_k, table4_rows$",
        ),
        (lambda: load_recipe("camvit"), "did you mean camvid"),
        (lambda: load_recipe("camvid").split("vla"), "did you mean val"),
    ],
)
def test_a_wrong_name_is_told_the_nearest_of_its_own_kind(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        call()


def test_extends_merges_mappings_and_overrides_come_last(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "extends: demo\nadapt: {lambda_cos: 3, epsilon: 0.2}")
    text = "extends: base.yaml\nadapt: {epsilon: 0.3}\ndata: {source: {options: {seed: 4}}}"
    config = load(write(tmp_path / "child.yaml", text), ["seed=7", "adapt.lambda_adv=1e-3"])
    assert (config.adapt.lambda_cos, config.adapt.epsilon, config.adapt.lambda_adv, config.seed) == (3, 0.3, 1e-3, 7)
    assert config.data.source.options == {"appearance": "synthetic", "count": 1000, "seed": 4}


def test_several_extended_files_are_laid_on_one_another_in_order(tmp_path: Path) -> None:
    write(tmp_path / "one.yaml", "extends: demo\nadapt: {lambda_cos: 3, epsilon: 0.2}")
    write(tmp_path / "two.yaml", "adapt: {epsilon: 0.3, warmup: 7}")
    adapt = load(write(tmp_path / "child.yaml", "extends: [one.yaml, two.yaml]\nadapt: {warmup: 8}")).adapt
    assert (adapt.lambda_cos, adapt.epsilon, adapt.warmup) == (3, 0.3, 8)


def test_a_domain_with_another_recipe_replaces_the_extended_one(tmp_path: Path) -> None:
    text = "extends: demo\ndata: {target: {recipe: camvid, raw: /data, size: [64, 48]}}"
    target = load(write(tmp_path / "other.yaml", text)).data.target
    assert (target.recipe, target.options, target.score_split) == ("camvid", {}, None)


def test_a_circle_of_extends_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "extends: b.yaml")
    write(tmp_path / "b.yaml", "extends: a.yaml")
    with pytest.raises(ConfigError, match="extends itself"):
        load(first)


def test_a_dumped_configuration_loads_to_the_same(tmp_path: Path) -> None:
    config = load("demo", ["seed=3"])
    assert load(write(tmp_path / "dump.yaml", dump(config))) == config


def test_another_recipe_on_the_command_line_drops_the_options_of_the_one_before() -> None:
    assert load("demo").data.source.options, "or there is nothing to drop"
    source = load("demo", ["data.source.recipe=camvid"]).data.source
    assert (source.recipe, source.options, source.score_options) == ("camvid", {}, {})
    given = ["data.source.options.count=5", "data.source.recipe=camvid", "data.source.options.first=1"]
    assert load("demo", given).data.source.options == {"count": 5, "first": 1}
    assert load("demo", ["data.source.recipe=streets"]).data.source.options == load("demo").data.source.options


def test_paths_are_relative_to_where_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (elsewhere / "mine.yaml").write_text("name: mine", encoding="utf-8")
    text = "extends: demo\ndata: {source: {recipe: mine.yaml, raw: a, size: [64, 48]}}\nmodel: {weights: w.pth}\n"
    file = write(elsewhere / "own.yaml", text)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DISK", "/disk")
    config = load(file, ["model.segmenter=s.safetensors", "data.target.raw=~/t", "data.target.score_raw=$DISK/v"])
    assert config.data.source.recipe == str(elsewhere / "mine.yaml")
    assert config.data.source.raw == elsewhere / "a"
    assert config.model.weights == str(elsewhere / "w.pth")
    assert config.model.segmenter == str(here / "s.safetensors")
    assert config.data.target.raw == tmp_path / "home/t"
    assert str(config.data.target.score_raw) == "/disk/v"
    assert load("demo", ["model.weights=imagenet"]).model.weights == "imagenet", "a word, no path"
    with pytest.raises(ConfigError, match=r"command line: data.source.raw: \$NO_SUCH is not set"):
        load("demo", ["data.source.raw=$NO_SUCH/x"])


def test_a_moved_run_folder_keeps_the_paths_inside_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "data/source").mkdir(parents=True)
    (run / "config.yaml").write_text(dump(load("demo", [f"data.source.raw={run}/data/source"]), run), encoding="utf-8")
    run.rename(tmp_path / "moved")
    assert recorded(tmp_path / "moved/config.yaml")["data"]["source"]["raw"] == str(tmp_path / "moved/data/source")


def test_a_refusal_says_which_file_wrote_the_value(tmp_path: Path) -> None:
    file = write(tmp_path / "own.yaml", "extends: demo\nsource: {lr: -1}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, ["adapt.lr=-2"])
    assert f"{file}: source.lr: input should be greater than 0 (got -1)" in str(caught.value)
    assert "command line: adapt.lr: input should be greater than 0 (got -2)" in str(caught.value)
    load(file, ["source.lr=0.1"])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("source.augment.crop=[0,0]", "source.augment.crop.0: .*than or equal to 8 .got 0"),
        ("source.augment.crop=[-8,48]", "crop.0: .*got -8"),
        ("data.source.size=[0,48]", "data.source.size.0: .*than or equal to 1 .got 0"),
        ("source.augment.scales=[0.5,.inf]", "scales.1: input should be a finite number"),
        ("source.augment.scales=[-1]", "scales.0: .*got -1"),
        ("evaluate.scales=[0]", "evaluate.scales.0: .*got 0"),
        ("translate.betas=[0.5,1]", "translate.betas.1: input should be less than 1"),
        ("adapt.d_betas=[-0.1,0.9]", "adapt.d_betas.0: .*got -0.1"),
        ("source.lr=.nan", "source.lr: input should be a finite number"),
        ("source.lr=.inf", "source.lr: input should be a finite number"),
        ("evaluate.scales=[true]", "evaluate.scales: must be a number"),
    ],
)
def test_an_impossible_number_is_refused_in_every_element(override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"^command line: .*{told}"):
        load("demo", [override])


def test_no_number_of_the_schema_takes_infinity() -> None:
    """Held against the schema itself, so that a setting that comes later is looked at too."""
    settings = flatten(load("demo").model_dump(mode="json"))
    floats = [key for key, value in settings.items() if isinstance(value, float)]
    assert len(floats) > 20
    for key in floats:
        with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
            load("demo", [f"{key}=.inf"])
