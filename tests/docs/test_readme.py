"""Every command of the README is one that exists, with a configuration and settings that load."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from cirn_dist.cli.app import app
from cirn_dist.config.load import load
from cirn_dist.paper.sweep import points

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.S)
INLINE = re.findall(r"`((?:cirn-dist|bash launch)[^`]*)`", README.replace("\n", " "))
VERBS = {"launch/slurm/pipeline.sbatch": ["run"], "launch/slurm/sweep.sbatch": ["sweep", "run"]}
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()] + INLINE


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_exists(command: str) -> None:
    words = shlex.split(command)
    while "=" in words[0]:
        words.pop(0)
    if words[0] == "touch":
        return
    if words[0] == "bash":
        assert (ROOT / words[1]).is_file()
        words = ["cirn-dist", "run", *words[words.index("--") + 1 :]] if "--" in words else []
    elif words[0] == "sbatch":
        (script,) = (word for word in words if word.endswith(".sbatch"))
        assert (ROOT / script).is_file()
        words = ["cirn-dist", *VERBS[script], *words[words.index(script) + 1 :]]
    if not words:
        return
    if "-m" in words:
        assert words[0] in ("accelerate", "torchrun")
        words = words[words.index("-m") + 1 :]
        assert words[0] == "cirn_dist"
    else:
        assert words[0] == "cirn-dist"
    _parse(typer.main.get_command(app), words[1:])


def _parse(command: Any, words: list[str]) -> None:
    """Parse the words as the command line would, down to the verb, and load what it would load."""
    while hasattr(command, "commands"):
        _, command, words = command.resolve_command(
            command.make_context(command.name, ["--help"], resilient_parsing=True), words
        )
    settings = command.make_context(command.name, list(words)).params
    if "sweep" in settings:
        for point in points(settings["sweep"], [int(seed) for seed in settings["seeds"].split(",") if seed]):
            load(point.base, list(point.overrides))
    elif command.name == "run" and "config" in settings:  # `show run` has none
        load(settings["config"], settings["overrides"])
    elif command.name == "demo":
        load("smoke" if settings["smoke"] else "demo", settings["overrides"])


def test_every_file_the_readme_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    for test in re.findall(r"`(tests/[\w/]+\.py)`", README):
        assert (ROOT / test).is_file(), test


def test_every_setting_the_readme_names_exists() -> None:
    assert load("gta5_cityscapes", ["engine.images_per_step=4"]).engine.images_per_step == 4
