"""The shipped configurations, tables and sweeps against the paper; no value may depart from it unmarked."""

from __future__ import annotations

import io
import json
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Command
from rich.console import Console, RenderableType
from stagerun import settings

from cirn_dist.chain import stage_titles, table_rows
from cirn_dist.config.load import load
from cirn_dist.config.schema import flatten
from cirn_dist.data.labels import label_space
from cirn_dist.errors import ConfigError
from cirn_dist.paper.published import ABLATION, BY_K, CIRN, MEANS, SOURCE_ONLY
from cirn_dist.paper.settings import settings_table
from cirn_dist.paper.statements import NOT_OF_THE_PAPER, PAPER, judge
from cirn_dist.paper.sweep import points
from cirn_dist.paper.tables import Run, tables
from cirn_dist.rundir.results import Results, Row, write_results

TASKS = ("gta5_cityscapes", "synthia_cityscapes")
C19 = label_space("cityscapes19")


def flat(name: str, *overrides: str) -> dict[str, object]:
    return flatten(load(name, list(overrides)).model_dump(mode="json"))


def shown(renderable: RenderableType, width: int = 150) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


@pytest.mark.parametrize("name", TASKS)
def test_no_value_departs_from_the_paper_unmarked(name: str) -> None:
    departing = {one.key: one.differs for one in judge(flat(name)) if one.differs and not one.marked}
    assert departing == {}
    marked = [one.key for one in judge(flat(name)) if one.marked]
    assert marked == ["adapt.d_weight_decay"]


@pytest.mark.parametrize("name", TASKS)
def test_every_setting_is_spoken_of_or_not_the_papers(name: str) -> None:
    spoken = {one.key for one in judge(flat(name))}
    left = [key for key in flat(name).keys() - spoken if not any(fnmatchcase(key, p) for p in NOT_OF_THE_PAPER)]
    assert left == []
    for statement in PAPER:
        assert any(fnmatchcase(key, statement.keys) for key in flat(name)), f"{statement.keys} is no setting"


@pytest.mark.parametrize(
    ("override", "said"),
    [("model.acm.k=3", "here not 2"), ("adapt.lambda_cos=10", "here not 40"), ("adapt.d_lr=2e-4", "here not 0.0001"),
     ("data.source.size=[640, 360]", "here not [1280, 720]")],
)  # fmt: skip
def test_a_changed_value_is_shown_as_different(override: str, said: str) -> None:
    judged = {one.key: one for one in judge(flat("gta5_cityscapes", override))}
    one = judged[override.split("=")[0]]
    assert (one.differs, one.marked) == (said, False)
    text = shown(settings_table(judged.values()))
    assert text.count("DIFFERS") == 1
    assert text.count("marked: CLAN's Adam for D has none") == 1


def test_the_published_numbers_agree_with_each_other() -> None:
    """The paper's own means follow from its classes, which a slip in copying would break."""
    thin = [C19.classes.index(name) for name in ("wall", "fence", "pole")]
    for rows, title in ((SOURCE_ONLY, "Source only"), (CIRN, "CIRN")):
        assert np.mean(rows["gta5"]) == pytest.approx(MEANS["gta5"][title][0], abs=0.051)
        sixteen = {i: value for i, value in enumerate(rows["synthia"]) if value is not None}
        assert set(sixteen) == set(C19.subsets["synthia16"])
        assert np.mean(list(sixteen.values())) == pytest.approx(MEANS["synthia"][title][0], abs=0.051)
        thirteen = [value for i, value in sixteen.items() if i not in thin]
        assert np.mean(thirteen) == pytest.approx(MEANS["synthia"][title][1], abs=0.051)
    for task in ("gta5", "synthia"):
        assert ABLATION[task]["CIR + ASS"] == BY_K[task][2]
        assert ABLATION[task]["CIR + ASS + ST"] == MEANS[task]["CIRN"][0]


def run_folder(folder: Path, name: str, k: int = 2) -> Path:
    folder.mkdir(parents=True)
    iou = tuple(0.01 * (i + 1) for i in range(19))
    rows = tuple(
        Row(stage=s, title=t, miou=m, iou=iou, subsets={"synthia16": m + 0.01, "synthia13": m + 0.02})
        for s, t, m in (("source", "Source only", 0.311), ("adapt", "CIR + ASS", 0.422),
                        ("self_train", "CIR + ASS + ST", 0.433), ("self_train_2", "CIR + ASS + ST, round 2", 0.444))
    )  # fmt: skip
    write_results(folder, Results(name=folder.name, seed=0, classes=C19.classes, palette=C19.palette, rows=rows))
    tree = load(name, [f"model.acm.k={k}"]).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder


def test_results_are_printed_beside_the_papers_tables(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / "g", TASKS[0]), run_folder(tmp_path / "s", TASKS[1], k=3)]
    text = shown(tables([Run.read(folder) for folder in folders]))
    lines = [line.split() for line in text.splitlines()]
    assert ["road", "75.8", "91.5", "1.0", "1.0"] in lines
    assert ["mIoU", "36.6", "49.1", "31.1", "44.4"] in lines
    assert ["mIoU,", "16", "33.5", "43.9", "32.1", "45.4"] in lines
    assert ["mIoU,", "13", "38.6", "51.1", "33.1", "46.4"] in lines
    assert ["2", "46.1", "42.2", "41.5", "–"] in lines
    assert ["3", "45.1", "–", "41.7", "43.2"] in lines
    assert ["CIR", "+", "ASS", "+", "ST", "49.1", "43.9", "44.4", "45.4"] in lines, "the last round"
    names = [line[0] for line in lines if line and line[0] in C19.classes]
    first = [name for name in C19.classes if " " not in name]
    assert names[: len(first)] == first, "the paper's order"


def test_a_run_of_another_task_is_in_table_4_only(finished_run: Path) -> None:
    text = shown(tables([Run.read(finished_run)]))
    assert "Table 4" in text
    assert "Table 1" not in text


@pytest.mark.parametrize(
    ("name", "count", "key", "values"),
    [
        ("table3_k", 10, "model.acm.k", [0, 1, 2, 3, 4] * 2),
        ("table4_rows", 4, "with_cir", [True, False] * 2),
        ("lambda_cos", 5, "adapt.lambda_cos", [1, 10, 20, 40, 80]),
        ("epsilon", 6, "adapt.epsilon", [0.1, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_sweeps_are_the_papers(name: str, count: int, key: str, values: list[object]) -> None:
    found = points(name)
    assert len({point.name for point in found}) == len(found) == count
    configs = [flat(point.base, *point.overrides) for point in found]
    assert [config[key] for config in configs] == values
    assert [config["name"] for config in configs] == [point.name for point in found]


def test_the_parameter_analysis_has_the_papers_other_values() -> None:
    for point in points("epsilon"):
        config = load(point.base, list(point.overrides))
        assert (config.model.acm.k, config.adapt.lambda_cos) == (3, 10)
    for point in points("lambda_cos"):
        config = load(point.base, list(point.overrides))
        assert (config.model.acm.k, config.adapt.epsilon) == (3, 0.4)


def test_a_file_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("bases: []", encoding="utf-8")
    with pytest.raises(ConfigError, match="bases: tuple should have at least 1 item"):
        points(str(tmp_path / "x.yaml"))
    with pytest.raises(ConfigError, match="no such file"):
        points("table9")


def test_without_the_cir_the_rows_are_those_of_table_4(tmp_path: Path) -> None:
    config = settings(tmp_path, "with_cir=false")
    assert not {"translate", "render", "cir"} & {name for name, _ in stage_titles(config)}
    rows = table_rows(config)
    assert [row.title for row in rows] == ["Source only", "ASS", "ASS + ST"]
    assert {row.title for row in rows} < set(ABLATION["gta5"])
    assert [row.control for row in rows] == [None, "source_control", "adapt_control"]


@pytest.mark.slow
def test_a_run_without_the_cir_adapts_from_the_source(mini: Path, tmp_path: Path, cirn_dist: Command) -> None:
    rounds = ("pseudo_label.rounds=2", "self_train.iterations=4", "evaluate.every=4", "controls=false")
    done = cirn_dist("run", mini, "with_cir=false", *rounds, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run/results.json").read_text())["rows"]
    assert [row["title"] for row in rows] == ["Source only", "ASS", "ASS + ST", "ASS + ST, round 2"]
    assert all(row["best"]["miou"] >= 0 for row in rows)
    assert not (tmp_path / "run/render").exists()
    printed = " ".join(done.stdout.split())
    assert "not an unsupervised result" in printed
    assert "Kept, %" in printed


def test_the_commands(finished_run: Path, tmp_path: Path, cirn_dist: Command) -> None:
    done = cirn_dist("show", "config", "gta5_cityscapes", "--paper", "--json", tmp_path / "judged.json")
    assert done.returncode == 0, done.stderr
    assert "adapt.lambda_cos" in done.stdout
    assert "DIFFERS" not in done.stdout
    assert {one["key"] for one in json.loads((tmp_path / "judged.json").read_text())} > {"adapt.epsilon", "model.acm.k"}
    whole = cirn_dist("show", "config", "demo", "seed=3")
    assert yaml.safe_load(whole.stdout)["seed"] == 3
    listed = cirn_dist("tables", finished_run)
    assert listed.returncode == 0, listed.stderr
    assert "Table 4" in listed.stdout
