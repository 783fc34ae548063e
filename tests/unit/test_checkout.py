"""What a user keeps in the checkout, runs and data and scripts, does not reach the checks of the project's own code."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from cirn_dist.libraries import installed

COMMANDS = [line.split("#")[0].strip() for line in (ROOT / "launch/test.sh").read_text("utf-8").splitlines()]
# The README's own folders, and one of the name of every module that a test imports from beside itself.
FOLDERS = {"runs", "data", "shards_mine", "weights", "wandb"} | {
    path.stem for path in (ROOT / "tests").rglob("*.py") if not path.stem.startswith("test_")
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the checkout in which a user has worked."""
    for name in ("cirn_dist", "tests", "launch", "configs", "shards", ".ci"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in FOLDERS:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "mine.py").write_text("import sys,os\nx=lambda:1\n")
        (tmp_path / name / "test_mine.py").write_text("assert False, 'not a test of the project'\n")
    (tmp_path / "convert.py").write_text("import sys,os\n")
    return tmp_path


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("ruff")])
def test_the_style_checks_hold_in_a_used_checkout(command: str, checkout: Path) -> None:
    program, *words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", program, *words], cwd=checkout, capture_output=True, text=True, timeout=60,
        env=os.environ | {"RUFF_NO_CACHE": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_suite_and_the_type_check_look_at_the_projects_own_files(checkout: Path) -> None:
    ((program, *_),) = (shlex.split(line.removeprefix("exec ")) for line in COMMANDS if line.startswith("exec"))
    assert program == "pytest", "python -m pytest would put the checkout, and what lies in it, on the path"
    done = subprocess.run(
        [shutil.which(program) or program, "--collect-only", "-q", "-p", "no:cacheprovider", "--ignore=tests/dist",
         "--ignore=tests/unit", "--ignore=tests/slurm"],
        cwd=checkout, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": str(checkout)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tests/faults/test_lock.py" in done.stdout
    assert "test_mine" not in done.stdout
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert (settings["mypy"]["files"], settings["tool:pytest"]["testpaths"]) == ("cirn_dist", "tests")


def test_a_folder_of_a_librarys_name_is_not_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_such_library").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not installed("no_such_library")
    assert installed("yaml")


def test_what_is_checked_automatically_begins_with_the_readmes_two_commands_in_its_order() -> None:
    readme = (ROOT / "README.md").read_text("utf-8").partition("```bash\n")[2].partition("```")[0]
    written = [line.split("#")[0].strip() for line in readme.splitlines()][:2]
    ran = [line for line in (ROOT / ".ci/run").read_text("utf-8").splitlines() if line.startswith("bash launch/")]
    first, second, *more = ran
    assert [first.replace(" --smoke", ""), second] == written
    assert more == ["bash launch/test_oldest.sh"], "and what needs libraries that the README's environment has not"
