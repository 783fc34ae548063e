"""What a file system refuses is told of the file it refused, be it written or only read meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cirn_dist.errors import DataError
from cirn_dist.files import PARTIAL, writing_into


def told(number: int, filename: Path | None, place: Path) -> str:
    with pytest.raises(DataError) as caught, writing_into(place):
        raise OSError(number, os.strerror(number), *([] if filename is None else [str(filename)]))
    return str(caught.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_file_that_may_not_be_read_is_named_and_the_run_is_not_blamed(number: int, tmp_path: Path) -> None:
    weights, run = tmp_path / "weights.pth", tmp_path / "run"
    line = told(number, weights, run)
    assert line.startswith(f"{weights}: ")
    assert line.endswith("; its permissions do not let this user open it")


def test_another_full_disk_is_named(tmp_path: Path) -> None:
    other = tmp_path / "tmp/part"
    assert told(errno.ENOSPC, other, tmp_path / "run").startswith(f"{other}: No space left on device; free some space")


@pytest.mark.parametrize("name", [None, "run", "run/source/metrics.jsonl", "", f".run{PARTIAL}"])
def test_what_is_written_is_told_of_its_place(name: str | None, tmp_path: Path) -> None:
    line = told(errno.EACCES, None if name is None else tmp_path / name, tmp_path / "run")
    assert line == f"{tmp_path}/run: Permission denied; no permission to write there: choose another folder"
