"""The commands of "When your job is killed", run as they stand there, on a tiny configuration."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

import pytest
from conftest import ROOT
from faults_run import Undisturbed, essence
from forks import Fault, Starts

pytestmark = pytest.mark.timeout(900)  # the undisturbed run counts to the first of them

SECTION = (ROOT / "README.md").read_text("utf-8").partition("## When your job is killed")[2].partition("\n## ")[0]
COMMANDS = [line.partition("#")[0].strip() for line in re.findall(r"```bash\n(.*?)```", SECTION, re.S)[0].splitlines()]


@pytest.mark.slow
def test_the_commands_do_what_is_said_of_them(starts: Starts, undisturbed: Undisturbed, tmp_path: Path) -> None:
    folder = tmp_path / "runs/night"

    def words(command: str) -> list[str]:
        own = {"demo": str(undisturbed.config), "runs/night": str(folder), "runs/night/STOP": str(folder / "STOP")}
        return [own.get(word, word) for word in shlex.split(command)]

    def run(command: str, fault: Fault | None = None) -> tuple[int, str]:
        head, *rest = words(command)
        assert head == "cirn-dist", command
        ended = starts(*rest, run=folder, fault=fault)
        return ended.code, ended.stdout + ended.stderr

    first, again, stop, in_time, *looks = COMMANDS
    assert run(first, Fault(r"rename adapt/checkpoints/\.tmp-step-00000002"))[0] == -signal.SIGKILL
    assert stop.startswith("touch ")
    Path(words(stop)[1]).touch()
    code, said = run(again)
    assert (code, (folder / "STOP").exists(), (folder / "PREEMPTED").exists()) == (0, False, True), said
    code, said = run(in_time)
    assert code == 0, said
    assert "CIR: done before" in said
    assert essence(folder) == undisturbed.essence
    listed, verified, shown = (run(command) for command in looks)
    assert listed[0] == verified[0] == shown[0] == 0
    assert "newest, finished" in listed[1]
    assert "nothing wrong" in verified[1]
    assert "every link fits" in shown[1]
