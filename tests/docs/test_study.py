"""The study's tables: what the records say, by hand."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cirn_dist.rundir.results import read_results

STUDY = Path(__file__).parents[2] / "docs/study"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("study_tables", STUDY / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(folder: Path, experiment: str, seed: int, rows: dict[str, tuple[float, float | None]]) -> None:
    """Write a run's results: stage -> its mIoU, and its control's."""
    source = STUDY / "shorter/streets_camvid_240-seed0.json"
    content: dict[str, Any] = json.loads(source.read_text(encoding="utf-8")) | {
        "name": f"{experiment}-seed{seed}", "seed": seed,
    }  # fmt: skip
    row = content["rows"][0]
    content["rows"] = [
        row | {"stage": stage, "miou": miou, "control": control and {"title": "control", "miou": control, "iou": []}}
        for stage, (miou, control) in rows.items()
    ]
    (folder / f"{experiment}-seed{seed}.json").write_text(json.dumps(content), encoding="utf-8")


def test_means_spreads_and_intervals_paired_by_seed(tables: ModuleType, tmp_path: Path) -> None:
    for seed, (source, cir, control) in enumerate([(0.40, 0.42, 0.41), (0.38, 0.41, 0.39), (0.42, 0.43, 0.44)]):
        record(tmp_path, "streets_camvid_240", seed, {"source": (source, None), "cir": (cir, control)})
    runs = tables.records(tmp_path)
    lines = list(tables.chain.scores(runs))
    # Means 40 and 42; deviations 2 and 1; controls 41.33 with 2.52.
    assert next(line for line in lines if line.startswith("| source only")).split(" | ")[1] == "40.0 ± 2.0"
    assert next(line for line in lines if line.startswith("| CIR |")).split(" | ")[1:4:2] == [
        "42.0 ± 1.0",
        "41.3 ± 2.5",
    ]
    # Differences 2, 3, 1: mean 2, deviation 1, so 4.303 / sqrt(3) on either side.
    half = 4.303 / math.sqrt(3)
    assert f"| CIR over source only | +2.0 | {2 - half:+.1f} to {2 + half:+.1f} | 3 of 3 |" in lines
    # Over the control: 1, 2, -1.
    assert any(line.startswith("| CIR over its control | +0.7 | ") and line.endswith("| 2 of 3 |") for line in lines)


def test_a_seed_that_one_row_lacks_is_not_compared(tables: ModuleType, tmp_path: Path) -> None:
    record(tmp_path, "streets_camvid_240", 0, {"source": (0.40, None), "cir": (0.42, None)})
    record(tmp_path, "streets_camvid_240", 1, {"source": (0.10, None)})
    assert "| CIR over source only | +2.0 | – | 1 of 1 |" in tables.chain.scores(tables.records(tmp_path))


def test_how_much_of_the_gap_is_closed_with_the_class_that_one_network_has_seen_and_without(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = {
        "source": (0.2, 0.2),
        "self_train": (0.3, 0.2),
        "supervised": (0.4, 0.9),
    }  # of all classes but fence, of fence
    record(tmp_path, "streets_camvid_240", 0, {"source": (0, None), "self_train": (0, None)})
    record(tmp_path, "streets_camvid_240-supervised", 0, {"source": (0, None)})
    for file in tmp_path.iterdir():
        content = json.loads(file.read_text(encoding="utf-8"))
        for row in content["rows"]:
            others, fence = of["supervised" if "supervised" in file.name else row["stage"]]
            row["iou"] = [fence if name == "fence" else others for name in content["classes"]]
        file.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(tables.chain, "GAP", (("streets_camvid_240", "self_train", "miou", "chain"),))
    lines = list(tables.chain.gap(tables.records(tmp_path)))
    # 20 to (10 * 40 + 90) / 11 = 44.5, (10 * 30 + 20) / 11 = 29.1 between: 9.09 of 24.5; without fence 10 of 20.
    assert lines[-1] == "| chain | 37 % of 24.5 points | 50 % of 20.0 points |"


def test_the_pages_say_what_the_records_say(tables: ModuleType) -> None:
    there = []
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        there += [found["table"] for found in tables.MARKS.finditer(text)]
        assert text == tables.written(page), "run python docs/study/tables.py"
    assert sorted(there) == sorted(tables.TABLES), "each has one place"


def test_a_class_has_the_mean_of_its_seeds(tables: ModuleType, tmp_path: Path) -> None:
    for seed in (0, 1):
        record(tmp_path, "streets_camvid_240", seed, {"source": (0.4, None)})
    file = tmp_path / "streets_camvid_240-seed1.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    before = content["rows"][0]["iou"][3]
    content["rows"][0]["iou"][3] = before - 0.5
    file.write_text(json.dumps(content), encoding="utf-8")
    lines = list(tables.chain.classes(tables.records(tmp_path)))
    assert f"| road | {100 * before - 25:.1f} |" in lines


def test_the_records_are_small_and_of_one_evaluation() -> None:
    files = sorted([*STUDY.glob("*-seed*.json"), *STUDY.glob("methods/*-seed*.json")])
    assert sum(file.stat().st_size for file in files) < 1e6
    for file in files:
        results = read_results(file)
        assert file.name == f"{results.name}.json"
        assert file.name.endswith(f"-seed{results.seed}.json")
        assert (results.images, len(results.classes)) == (101, 11)


def test_methods_stand_beside_the_chain_of_their_seeds(tables: ModuleType, tmp_path: Path) -> None:
    chain, methods = tmp_path / "chain", tmp_path / "methods"
    for folder in (chain, methods):
        folder.mkdir()
    for seed, (source, cir) in enumerate([(0.41, 0.42), (0.40, 0.43), (0.10, 0.10)]):  # no method has seed 2
        record(chain, "streets_camvid_240", seed, {"source": (source, None), "cir": (cir, None)})
    record(chain, "streets_camvid_240-without_cir", 2, {"adapt": (0.1, None)})
    for seed, (source, miou) in enumerate([(0.40, 0.41), (0.38, 0.40)]):  # another processor's source network
        rows = {"source": (source, None), "adapt": (miou, 0.39)}
        record(methods, "streets_camvid_240-minent-streets_240", seed, rows)
        record(methods, "streets_camvid_240-dacs-streets_240", seed, {"source": rows["source"]})
    lines = list(tables.one_budget.scores_240(tables.records(chain, methods)))
    assert lines[2].startswith("| source only | 39.0 ± 1.4 | ")
    assert lines[2].endswith(" | – | – | – | 0, 1 |")
    # Differences 1 and 2: mean 1.5, deviation 0.707, so 12.706 * 0.707 / sqrt(2) = 6.353 on either side.
    assert lines[3].startswith("| `minent` | 40.5 ± 0.7 | ")
    assert lines[3].endswith(" | 39.0 ± 0.0 | +1.5 | -4.9 to +7.9 | 0, 1 |")
    # The chain by its own: differences 1 and 3.
    assert lines[4].startswith("| CIRN: CIR | 42.5 ± 0.7 | ")
    assert lines[4].endswith(" | +2.0 | -10.7 to +14.7 | 0, 1 |")
    assert len(lines) == 5
