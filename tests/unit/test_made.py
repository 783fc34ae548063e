"""A stage's record by itself: which settings held at which iteration; the command and the code of a start."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cirn_dist.engine.environment import command, commit
from cirn_dist.errors import DataError
from cirn_dist.rundir.made import Circumstances, Made, Start, read_made

BY = Circumstances(
    command="cirn-dist run x", version="1", python="3", torch="2", ranks=1, device="CPU", precision="fp32",
    backend="ddp", micro_batch=1,
)  # fmt: skip


def start(first: int, last: int) -> Start:
    return Start(
        began="2026-01-02T03:04:05+00:00", ended="2026-01-02T03:04:06+00:00", seconds=1, first=first, last=last, by=BY
    )


def worked(made: Made, first: int, last: int) -> Made:
    return made.model_copy(update={"starts": (*made.starts, start(first, last))})


def test_changes_hold_from_their_iteration_and_lost_ones_are_dropped() -> None:
    made = worked(Made().going_on(0, {"lr": 1.0, "k": 2}), 0, 400)
    made = worked(made.going_on(400, {"lr": 0.5, "k": 2}), 400, 600)
    made = worked(made.going_on(600, {"lr": 0.1, "k": 2}), 600, 900)
    assert [(change.at, change.was, change.now) for change in made.effective] == [(400, 1.0, 0.5), (600, 0.5, 0.1)]
    assert [made.settings_at(done)["lr"] for done in (400, 401, 600, 601, 900)] == [1.0, 0.5, 0.5, 0.1, 0.1]
    # The newest checkpoints were damaged: it goes on from 500, where 0.5 held, and keeps it.
    back = worked(made.going_on(500, {"lr": 0.5, "k": 2}), 500, 900)
    assert [(change.at, change.now) for change in back.effective] == [(400, 0.5)]
    # Nothing was saved with 0.1, and the start that goes on has the rate from before.
    again = made.going_on(600, {"lr": 0.5, "k": 2})
    assert [(change.at, change.now) for change in again.changes] == [(400, 0.5)]
    assert made.seconds == 3


def test_a_change_that_no_work_followed_on_is_not_effective() -> None:
    made = worked(Made().going_on(0, {"lr": 1.0}), 0, 400).going_on(400, {"lr": 0.5})
    assert made.changes
    assert made.effective == ()


def test_what_was_done_before_there_was_a_record_is_not_known() -> None:
    made = Made().going_on(400, {"lr": 1.0})
    assert (made.since, made.settings) == (400, {"lr": 1.0})
    assert made.going_on(600, {"lr": 1.0, "new": 3}).changes == (), "a later version's setting is no change"


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    assert read_made(tmp_path) is None
    (tmp_path / "made.json").write_text("{")
    with pytest.raises(DataError, match=r"made\.json: not a record"):
        read_made(tmp_path)


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["/opt/bin/cirn-dist", "run", "a b.yaml", "x={k: 1}"], "cirn-dist run 'a b.yaml' 'x={k: 1}'"),
        (["/site/cirn_dist/__main__.py", "demo"], "cirn-dist demo"),
        (["mine.py", "--fast"], "mine.py --fast"),
    ],
)
def test_a_command_is_written_as_one_types_it(words: list[str], typed: str) -> None:
    assert command(words) == typed


def test_the_commit_of_a_checkout_and_whether_its_files_differ(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=me", "-c", "user.email=me@example.org")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    git("tag", "v1")
    assert commit(tmp_path) == git("rev-parse", "HEAD")[:12]
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == git("rev-parse", "HEAD")[:12] + "-dirty"
