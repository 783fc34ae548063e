"""metrics.jsonl only grows, and after a resume says everything once."""

from __future__ import annotations

import json
from pathlib import Path

from cirn_dist.rundir.metrics import MetricsLog, metrics, read_metrics


def written(path: Path, steps: range, resume_at_step: int = 0) -> None:
    with MetricsLog(path, resume_at_step) as log:
        for step in steps:
            log.write(metrics(step, step * 4, 10.0, {"seg": 1 / step}, {"segmenter": 1e-3}))


def test_a_line_has_the_agreed_form(tmp_path: Path) -> None:
    path = tmp_path / "source" / "metrics.jsonl"
    written(path, range(1, 2))
    record = json.loads(path.read_text())
    assert record.pop("time") > 1e9
    assert record == {
        "step": 1,
        "iteration": 4,
        "images_per_second": 10.0,
        "losses": {"seg": 1.0},
        "rates": {"segmenter": 1e-3},
        "observed": {},
        "skipped": 0,
        "costs": {},
    }


def test_what_is_there_is_never_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log, before = MetricsLog(path), b""
    for step in range(1, 5):
        log.write(metrics(step, step, 1.0, {}))
        now = path.read_bytes()  # visible at once, without closing
        assert now.startswith(before)
        assert now.count(b"\n") == step
        before = now
    log.close()


def test_resume_drops_what_will_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, range(1, 10))
    kept = path.read_bytes().splitlines(keepends=True)[:6]
    written(path, range(7, 12), resume_at_step=6)
    assert [record.step for record in read_metrics(path)] == list(range(1, 12))
    assert path.read_bytes().startswith(b"".join(kept))


def test_starting_anew_starts_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, range(1, 4))
    written(path, range(1, 2))
    assert [record.step for record in read_metrics(path)] == [1]


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, range(1, 4))
    path.write_bytes(path.read_bytes()[:-20])
    assert [record.step for record in read_metrics(path)] == [1, 2]
    written(path, range(3, 4), resume_at_step=3)
    assert [record.step for record in read_metrics(path)] == [1, 2, 3]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_non_finite_loss_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.write(metrics(1, 1, 1.0, {"a": float("nan"), "b": float("inf"), "c": 2.0}))
    assert json.loads(path.read_text())["losses"] == {"a": None, "b": None, "c": 2.0}
    assert read_metrics(path)[0].losses == {"a": None, "b": None, "c": 2.0}


def test_no_log_is_no_records(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []
