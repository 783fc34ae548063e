"""Mean and spread over seeds are those of NumPy, and unlike runs are not mixed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cirn_dist.config.load import load
from cirn_dist.config.recorded import dump
from cirn_dist.display.summary import summarise_seeds
from cirn_dist.errors import DataError
from cirn_dist.rundir.results import Results, Row, Scores, write_results
from cirn_dist.rundir.settings import CONFIG

SOURCE, FINAL, ADABN = (0.27, 0.29, 0.31), (0.38, 0.41, 0.37), (0.33, 0.34, 0.32)


def run(folder: Path, seed: int, *, stage: str = "self_train", classes: tuple[str, ...] = ("road",)) -> Path:
    rows = (
        Row(stage="source", title="Source only", miou=SOURCE[seed], adabn=Scores(miou=ADABN[seed])),
        Row(stage=stage, title="CIR | ST", miou=FINAL[seed], adabn=Scores(miou=0.4) if seed else None),
    )
    path = folder / f"seed{seed}"
    path.mkdir(exist_ok=True)
    palette = ((0, 0, 0),) * len(classes)
    write_results(path, Results(name="r", seed=seed, classes=classes, palette=palette, rows=rows))
    return path


def test_mean_std_and_range(tmp_path: Path) -> None:
    summary = summarise_seeds([run(tmp_path, seed) for seed in range(3)])
    assert summary.seeds == (0, 1, 2)
    source, final = summary.stages
    for spread, values in ((source.cells[0], SOURCE), (final.cells[0], FINAL), (source.cells[1], ADABN)):
        assert spread is not None
        assert spread.mean == pytest.approx(np.mean(values))
        assert spread.std == pytest.approx(np.std(values, ddof=1))
        assert (spread.low, spread.high) == (min(values), max(values))
    assert final.cells[1] is None  # one seed has no AdaBN there: no mean over the others alone


def test_the_gain_is_paired_by_seed(tmp_path: Path) -> None:
    gain = summarise_seeds([run(tmp_path, seed) for seed in range(3)]).stages[1].gain
    assert gain is not None
    assert gain.low == pytest.approx(0.06)  # 0.37 - 0.31, not 0.37 - 0.27
    assert gain.mean == pytest.approx(np.mean(np.subtract(FINAL, SOURCE)))


def test_one_run_has_no_spread(tmp_path: Path) -> None:
    summary = summarise_seeds([run(tmp_path, 0) / "results.json"])
    (source, final) = summary.stages
    assert source.cells[0] is not None
    assert (source.cells[0].mean, source.cells[0].std) == (0.27, None)
    assert final.gain is not None
    assert final.gain.std is None


def test_it_prints(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(summarise_seeds([run(tmp_path, seed) for seed in range(3)]))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for piece in ("38.7 ± 2.1", "37.0..41.0", "+9.7 ± 3.2", "+6.0..+12.0"):
        assert piece in text


def test_unlike_runs_are_refused(tmp_path: Path) -> None:
    first = run(tmp_path, 0)
    with pytest.raises(DataError, match="other stages"):
        summarise_seeds([first, run(tmp_path, 1, stage="adapt")])
    with pytest.raises(DataError, match="other classes"):
        summarise_seeds([first, run(tmp_path, 1, classes=("car",))])
    with pytest.raises(DataError, match="seed 0 is there twice"):
        summarise_seeds([first, first])
    with pytest.raises(DataError, match="no runs"):
        summarise_seeds([])
    with pytest.raises(DataError, match="no results here"):
        summarise_seeds([tmp_path])


def test_runs_of_other_settings_are_not_averaged(tmp_path: Path) -> None:
    folders = [run(tmp_path, seed) for seed in range(3)]
    for seed, folder in enumerate(folders):
        given = ["data.workers=0"] if seed == 1 else []  # how it is executed is its own affair
        (folder / CONFIG).write_text(dump(load("smoke", [f"seed={seed}", f"name=run{seed}", *given])))
    assert summarise_seeds(folders).seeds == (0, 1, 2)
    (folders[2] / CONFIG).write_text(dump(load("smoke", ["seed=2", "adapt.lambda_adv=0.0123"])))
    with pytest.raises(DataError, match=r"seed2: was made with other settings than .*seed0 \(adapt.lambda_adv\)"):
        summarise_seeds(folders)
