"""The launch scripts: found in the package, and copied out of it to where a scheduler's host can read them."""

from __future__ import annotations

from pathlib import Path

from conftest import ROOT, Command


def test_the_scripts_are_copied_to_a_host_that_has_no_package(cirn_dist: Command, tmp_path: Path) -> None:
    for _ in range(2):  # a newer image's over an older one's
        done = cirn_dist("scripts", "--to", tmp_path / "host/launch")
        assert (done.returncode, done.stdout) == (0, f"{tmp_path}/host/launch\n")
    for file in (ROOT / "launch/slurm").iterdir():
        assert (tmp_path / "host/launch/slurm" / file.name).read_bytes() == file.read_bytes()
    assert cirn_dist("scripts").stdout == f"{ROOT}/launch\n"
    (tmp_path / "file").touch()
    done = cirn_dist("scripts", "--to", tmp_path / "file")
    assert done.returncode == 1
    assert done.stderr.startswith(f"cirn-dist: {tmp_path}/file: ")
    assert done.stderr.count("\n") == 1
