"""Sweeps: from an index to a run and its settings; from the runs' scores to the paper's tables."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from cirn_dist.cli.app import app
from cirn_dist.config.load import load
from cirn_dist.config.recorded import dump
from cirn_dist.errors import ConfigError, DataError
from cirn_dist.paper.sweep import Point, point, points
from cirn_dist.paper.sweep_tables import Collected, collect
from cirn_dist.paper.tables import task_of
from cirn_dist.rundir.results import Results, Row, write_results


@pytest.fixture
def two_keys(tmp_path: Path) -> str:
    """Return a sweep of two bases, one of them a file, over two keys and two seeds: 16 points."""
    (tmp_path / "mine.yaml").write_text("extends: gta5_cityscapes\ndata: {source: {raw: /data/gta5}}")
    content = {
        "bases": [str(tmp_path / "mine.yaml"), "synthia_cityscapes"],
        "settings": {"adapt.epsilon": 0.2},
        "over": {"model.acm.k": [1, 2], "adapt.lambda_cos": [10, 40]},
        "seeds": [0, 5],
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return str(tmp_path / "s.yaml")


def test_an_index_is_a_setting(two_keys: str) -> None:
    seen = []
    for index in range(16):
        config = load((one := point(two_keys, index)).base, list(one.overrides))
        k, cos, seed = config.model.acm.k, config.adapt.lambda_cos, config.seed
        source = config.data.source.recipe
        seen.append((seed, source, k, cos))
        assert config.adapt.epsilon == 0.2
        stem = "mine" if source == "gta5" else "synthia_cityscapes"
        assert config.name == one.name == f"{stem}-k{k}-lambda_cos{cos:.0f}-seed{seed}"
    expected = [(s, b, k, c) for s in (0, 5) for b in ("gta5", "synthia") for k in (1, 2) for c in (10, 40)]
    assert seen == expected, "seeds vary slowest, the last key fastest"


def test_more_seeds_leave_the_points_there_are(two_keys: str) -> None:
    assert points(two_keys, (0, 5, 7))[:16] == points(two_keys)
    assert [one.seed for one in points("table3_k", (3, 4))] == [3] * 10 + [4] * 10


def test_an_index_that_is_not_there_and_a_point_that_is_there_twice(two_keys: str) -> None:
    for index in (16, -1):
        with pytest.raises(ConfigError, match="it has 16: 0 to 15"):
            point(two_keys, index)
    with pytest.raises(ConfigError, match="two points are"):
        points(two_keys, (1, 1))


def finish(folder: Path, one: Point, scores: dict[str, float]) -> None:
    """Leave what a run that has scored these rows leaves."""
    (folder / one.name).mkdir(parents=True)
    (folder / one.name / "config.yaml").write_text(dump(load(one.base, list(one.overrides))))
    rows = tuple(Row(stage=title, title=title, miou=miou, iou=(miou,)) for title, miou in scores.items())
    write_results(
        folder / one.name, Results(name=one.name, seed=one.seed, classes=("road",), palette=((0, 0, 0),), rows=rows)
    )


@pytest.fixture
def collected(tmp_path: Path) -> Collected:
    """Return Table 3's sweep over two seeds, some of it finished."""
    found = points("table3_k", (0, 1))
    by_name = {one.name: one for one in found}
    runs = tmp_path / "runs"
    finish(runs, by_name["gta5_cityscapes-k2-seed0"], {"Source only": 0.30, "CIR": 0.40, "CIR + ASS": 0.46})
    whole = {
        "Source only": 0.32,
        "CIR": 0.41,
        "CIR + ASS": 0.48,
        "CIR + ASS + ST": 0.49,
        "CIR + ASS + ST, round 2": 0.5,
    }
    finish(runs, by_name["gta5_cityscapes-k2-seed1"], whole)
    finish(runs, by_name["gta5_cityscapes-k3-seed1"], {"Source only": 0.33})
    (runs / "gta5_cityscapes-k3-seed1/PREEMPTED").touch()
    (runs / "synthia_cityscapes-k0-seed0").mkdir()
    tasks = {one.base: task_of(load(one.base).model_dump(mode="json")) for one in found}
    return collect("table3_k", found, tasks, runs)


def test_collect_takes_what_has_finished_with_mean_and_spread(collected: Collected) -> None:
    states = {one.name: (one.state, list(one.miou)[-1:]) for one in collected.points}
    assert states["gta5_cityscapes-k2-seed1"] == ("started", ["CIR + ASS + ST"])
    assert states["gta5_cityscapes-k3-seed1"] == ("stopped", ["Source only"])
    assert states["synthia_cityscapes-k0-seed0"] == ("started", [])
    assert states["synthia_cityscapes-k1-seed0"] == ("not started", [])

    by_k = {(cell.base, cell.setting): cell for cell in collected.by_setting}
    assert len(by_k) == 10
    two = by_k["gta5_cityscapes", "2"]
    assert (two.paper, two.runs, two.row) == (46.1, 2, "CIR + ASS")
    assert two.ours is not None
    assert two.ours.mean == pytest.approx(0.47)
    assert two.ours.std == pytest.approx(0.02 / 2**0.5)
    assert by_k["gta5_cityscapes", "3"].ours is None
    assert by_k["synthia_cityscapes", "3"].paper == 41.7

    by_row = {(cell.base, cell.setting, cell.row): cell for cell in collected.by_row}
    last = by_row["gta5_cityscapes", "2", "CIR + ASS + ST"]
    assert (last.paper, last.runs) == (49.1, 1)
    assert last.ours is not None
    assert last.ours.mean == 0.5, "the last round's"


def test_a_run_with_other_settings_than_its_point_is_not_counted(tmp_path: Path) -> None:
    """In the folder of K = 2 a run of K = 3, in that of K = 1 one whose K was changed in its course."""
    found = points("table3_k", (0,))
    by_name = {one.name: one for one in found}
    for k in (1, 2):
        one = by_name[f"gta5_cityscapes-k{k}-seed0"]
        finish(tmp_path, one, {"CIR + ASS": 0.46})
    other = load("gta5_cityscapes", ["model.acm.k=3", "seed=0"])
    (tmp_path / "gta5_cityscapes-k2-seed0/config.yaml").write_text(dump(other))
    line = {"time": "2026-01-02T03:04:05+00:00", "key": "model.acm.k", "was": 0, "is": 1}
    (tmp_path / "gta5_cityscapes-k1-seed0/changes.jsonl").write_text(json.dumps(line) + "\n")
    collected = collect("table3_k", found, {one.base: None for one in found}, tmp_path)
    states = {one.name: (one.state, one.miou) for one in collected.points}
    assert states["gta5_cityscapes-k2-seed0"] == ("another run: model.acm.k is 3", {})
    state, miou = states["gta5_cityscapes-k1-seed0"]
    assert state.startswith("another run: model.acm.k was 0, is 1")
    assert miou == {}
    assert all(cell.ours is None for cell in collected.by_setting)


def test_collect_prints_the_papers_tables(collected: Collected) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(collected)
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "Table 3: mIoU of stage 2 by K, %" in lines
    assert "2 46.1 47.0 ± 1.4 (2) 41.5 –" in lines
    assert "Table 4, gta5_cityscapes: mIoU by what is in, %" in lines
    assert "Source only 36.6 – – 31.0 ± 1.4 (2) 33.0 –" in lines
    assert "CIR + ASS + ST 49.1 – – 50.0 – –" in lines


def test_the_rows_without_the_cir_fill_the_same_table(tmp_path: Path) -> None:
    found = points("table4_rows")
    finish(tmp_path, found[0], {"Source only": 0.30, "CIR": 0.40, "CIR + ASS": 0.46})
    finish(tmp_path, found[1], {"Source only": 0.30, "ASS": 0.43})
    rows = collect("table4_rows", found, dict.fromkeys([one.base for one in found]), tmp_path).by_row
    ours = {cell.row: cell.ours and cell.ours.mean for cell in rows if cell.base == "gta5_cityscapes"}
    assert ours["ASS"] == 0.43
    assert ours["CIR + ASS"] == 0.46
    assert len(ours) == len([cell for cell in rows if cell.base == "gta5_cityscapes"]), "one column"


def test_the_verbs(two_keys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*words: str) -> str:
        done = CliRunner().invoke(app, ["sweep", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "mine-k2-lambda_cos10-seed5" in call("list", two_keys, "--json", str(tmp_path / "list.json"))
    listed = json.loads((tmp_path / "list.json").read_text())
    assert [one["index"] for one in listed] == list(range(16))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "9")
    rendered = [f"data.{domain}={{recipe: streets, size: [64, 48]}}" for domain in ("source", "target")]
    dry = ("data.label_space=null", *rendered, "data.target.score_split=null", "--dry-run")
    with pytest.raises(DataError, match=r"gta5: no such folder; data.source.raw=FOLDER"):
        call("run", two_keys, "--dry-run")
    assert call("run", two_keys, *dry).split()[0] == f"runs/s/{listed[9]['name']}"
    assert call("run", two_keys, "2", "seed=7", *dry, "--out", "there").split()[0] == f"there/{listed[2]['name']}"
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    with pytest.raises(ConfigError, match="SLURM_ARRAY_TASK_ID"):
        call("run", two_keys, "seed=7", "--dry-run")
    with pytest.raises(ConfigError, match="unknown key"):
        call("run", two_keys, "0", "adapt.lambda_avd=1", "--dry-run")
    call("collect", two_keys, "--out", str(tmp_path), "--seeds", "1", "--json", str(tmp_path / "all.json"))
    assert len(json.loads((tmp_path / "all.json").read_text())["points"]) == 8


TERMS = ("lambda_adv", "lambda_entropy", "lambda_weight", "epsilon", "damping", "max_square", "guidance",
         "robust_entropy", "fda", "auxiliary", "gan", "shown")  # fmt: skip


@pytest.mark.parametrize("name", ["methods_240", "methods_camvid"])
def test_a_sweep_of_methods_leaves_each_its_own_terms(name: str) -> None:
    """A setting of the whole sweep that only one method should have made five methods one: FDA's images for all."""
    for one in points(name, (0,)):
        method = one.base.split("+")[1]
        if method.startswith(("streets_", "cirn")):  # the chain itself, whose terms the configuration has
            continue
        swept = load(one.base, list(one.overrides))
        if not swept.with_adapt:
            continue
        own = load(f"gta5_cityscapes+{method}").adapt
        for term in TERMS:
            mine, there = getattr(own, term), getattr(swept.adapt, term)
            if term == "fda" and own.fda.beta is not None:  # at least a frequency of smaller crops
                assert there.beta is not None
                continue
            assert there == mine, (one.base, term)


@pytest.mark.parametrize("name", ["methods_240", "methods_camvid"])
def test_a_sweep_of_methods_has_one_source_network_and_one_budget(name: str) -> None:
    """MaxSquare's own 80,000 iterations on the source once went through a preset that named every stage but that."""
    configs = {
        one.base: load(one.base, list(one.overrides)) for one in points(name, (0,)) if "daformer" not in one.base
    }
    first = next(iter(configs.values()))
    for base, config in configs.items():
        assert config.source == first.source, base
        assert (config.data, config.engine) == (first.data, first.engine), base
        assert config.model.model_copy(update={"with_acm": False, "acm": first.model.acm}) == first.model, base
        trained = config.adapt if config.with_adapt else config.self_train
        for key in ("iterations", "optimizer", "lr", "weight_decay", "head_lr_mult", "power", "warmup", "decay_over"):
            assert getattr(trained, key) == getattr(first.adapt, key), (base, key)
        assert trained.augment == first.adapt.augment, base
