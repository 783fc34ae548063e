"""Runs side by side: grouped by their settings, means and paired differences as NumPy has them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from rich.console import Console

from cirn_dist.config.load import load
from cirn_dist.config.recorded import dump
from cirn_dist.display.comparison import compare
from cirn_dist.errors import DataError
from cirn_dist.report.compare import write_comparison
from cirn_dist.rundir.results import Results, Row, write_results
from cirn_dist.rundir.settings import CONFIG

PLAIN = {0: (0.20, 0.30), 1: (0.24, 0.33), 2: (0.22, 0.35)}
OTHER = {0: (0.20, 0.32), 2: (0.22, 0.34), 5: (0.40, 0.50)}


def run(folder: Path, seed: int, scores: tuple[float, ...], *overrides: str, name: str = "r") -> Path:
    folder.mkdir()
    titles = (("source", "Source only"), ("adapt", "CIR + ASS"))
    rows = tuple(
        Row(stage=stage, title=title, miou=value, iou=(value, 0.0))
        for (stage, title), value in zip(titles, scores, strict=False)
    )
    palette = ((1, 2, 3), (4, 5, 6))
    write_results(folder, Results(name=name, seed=seed, classes=("road", "<car>"), palette=palette, rows=rows))
    (folder / CONFIG).write_text(dump(load("demo", [f"seed={seed}", f"name={name}", *overrides])))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Three seeds of one experiment and three of another, two of them the same; given in a mixed order."""
    plain = [run(tmp_path / f"plain{seed}", seed, scores) for seed, scores in PLAIN.items()]
    other = [run(tmp_path / f"other{seed}", seed, scores, "adapt.lr=0.25") for seed, scores in OTHER.items()]
    return [plain[0], other[0], plain[1], plain[2], other[1], other[2]]


def test_runs_are_grouped_by_their_settings_and_paired_by_seed(runs: list[Path]) -> None:
    found = compare(runs)
    plain, other = found.experiments
    assert [sorted(one.seed for one in group.results) for group in (plain, other)] == [[0, 1, 2], [0, 2, 5]]
    assert plain.settings.keys() == {"adapt.lr"}
    assert other.label == "r, adapt.lr=0.25"
    cells = [group.summary.stages[1].cells[0] for group in (plain, other)]
    for cell, scores in zip(cells, (PLAIN, OTHER), strict=True):
        values = [final for _, final in scores.values()]
        assert cell is not None
        assert (cell.mean, cell.std) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    source, adapt = found.differences
    assert (source.seeds, source.gained, source.spread.mean) == ((0, 2), 0, 0)
    gains = [OTHER[seed][1] - PLAIN[seed][1] for seed in (0, 2)]
    assert (adapt.seeds, adapt.gained) == ((0, 2), 1)
    assert adapt.spread.mean == pytest.approx(np.mean(gains))
    assert adapt.spread.std == pytest.approx(np.std(gains, ddof=1))


def test_stages_that_one_experiment_lacks_are_left_empty(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", 0, (0.2, 0.3))
    short = run(tmp_path / "b", 0, (0.2,), "with_cir=false")
    for order in ((whole, short), (short, whole)):
        found = compare(order)
        assert list(found.stages) == ["source", "adapt"]
        assert [one.stage for one in found.differences] == ["source"]
    console = Console(file=io.StringIO(), width=100)
    console.print(compare([whole, short]))
    assert isinstance(console.file, io.StringIO)
    assert "30.0 (1)" in console.file.getvalue()


def test_what_cannot_be_compared_is_refused(tmp_path: Path, runs: list[Path]) -> None:
    with pytest.raises(DataError, match="no runs to compare"):
        compare([])
    with pytest.raises(DataError, match="seed 0 is there twice"):
        compare([*runs, runs[0]])
    other = run(tmp_path / "c", 0, (0.2, 0.3), "adapt.lr=1")
    text = (other / "results.json").read_text()
    (other / "results.json").write_text(text.replace("road", "street"))
    with pytest.raises(DataError, match="scores other classes than"):
        compare([runs[0], other])


def test_the_verb_prints_and_writes_a_page(runs: list[Path], tmp_path: Path, cirn_dist: Command) -> None:
    out, told = tmp_path / "page.html", tmp_path / "told.json"
    done = cirn_dist("report", *runs, "--out", out, "--json", told)
    assert done.returncode == 0, done.stderr
    assert "32.7 ± 2.5 (3)" in done.stdout
    page = out.read_text()
    for text in ("32.7 ± 2.5 (3)", "+0.5 ± 2.1", "1 of 2", "Every run", "What differs", "adapt.lr", "&lt;car&gt;"):
        assert text in page, text
    assert "<car>" not in page
    content = json.loads(told.read_text())
    assert [one["label"] for one in content["experiments"]] == ["r, adapt.lr=0.0005", "r, adapt.lr=0.25"]
    assert content["differences"][1]["gained"] == 1
    done = cirn_dist("report", runs[0], "--out", out)
    assert (done.returncode, "is for several runs" in done.stderr) == (2, True)
    assert write_comparison(compare(runs), tmp_path / "again.html").read_text() == page
