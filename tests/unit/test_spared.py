"""Device-hours that shared stages spare, beside sums by hand."""

from __future__ import annotations

from pathlib import Path

from cirn_dist.files import write_json
from cirn_dist.rundir.made import FILE_NAME, Circumstances, Made, Start
from cirn_dist.rundir.spared import Work, work_of


def start(seconds: float, first: int, last: int, ranks: int) -> Start:
    by = Circumstances(
        command="", version="1", python="3", torch="2", ranks=ranks, device="cuda", precision="bf16",
        backend="accelerate", micro_batch=1,
    )  # fmt: skip
    at = "2026-01-02T03:04:05+00:00"
    return Start(began=at, ended=at, seconds=seconds, first=first, last=last, by=by)


def record(run: Path, stage: str, *starts: Start, taken: str | None = None) -> None:
    (run / stage).mkdir(parents=True)
    write_json(run / stage / FILE_NAME, Made(starts=starts, taken=taken).model_dump(mode="json"))


def test_hours_are_of_all_ranks_and_what_was_taken_is_worked_once(tmp_path: Path) -> None:
    made = (start(3600, 0, 50, ranks=4), start(1800, 50, 90, ranks=8))  # 4 + 4 hours, on 4 ranks and then on 8
    record(tmp_path / "a", "source", *made)
    record(tmp_path / "a", "cir", start(900, 0, 10, ranks=4))  # 1
    record(tmp_path / "b", "source", *made, start(1800, 90, 90, ranks=4), taken="../a")  # scored here: 2
    record(tmp_path / "b", "cir", start(5400, 0, 10, ranks=2))  # 3
    found = work_of([tmp_path / "a", tmp_path / "b", tmp_path / "not begun"])
    assert found == Work(stages=4, taken=1, hours=8.0 + 1 + 2 + 3, spared=8.0)
    assert str(found) == "1 of 4 stages taken from another run: 8.0 device-hours spared, 14.0 worked"
