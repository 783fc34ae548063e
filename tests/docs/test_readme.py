"""What the documents say holds: commands exist, settings load, examples work, files and floors are as named."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from conftest import Command
from floors import FLOORS
from PIL import Image

from cirn_dist import __version__
from cirn_dist.cli.app import app
from cirn_dist.config.load import load
from cirn_dist.paper.sweep import points
from cirn_dist.rundir.results import read_results

ROOT = Path(__file__).parents[2]
README, CLUSTER, CONTRIBUTING = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "launch/CLUSTER.md", "CONTRIBUTING.md")
)
DOCS = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
BLOCKS = re.findall(r"```bash\n(.*?)```", README + CLUSTER + DOCS, re.S)
INLINE = re.findall(r"`((?:cirn-dist |bash launch)[^`]*)`", (README + DOCS).replace("\n", " "))
VERBS = {"launch/slurm/pipeline.sbatch": ["run"], "launch/slurm/sweep.sbatch": ["sweep", "run"]}
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()] + INLINE


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_exists(command: str) -> None:
    words = shlex.split(command)
    while "=" in words[0]:
        words.pop(0)
    if words[0] in ("touch", "source", "pip") or words[1].startswith("--"):
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
    elif command.name == "run" and "config" in settings and "mine.yaml" not in str(settings["overrides"]):
        load(settings["config"], settings["overrides"])
    elif command.name == "demo":
        load("smoke" if settings["smoke"] else "demo", settings["overrides"])


def test_the_line_that_puts_cirn_dist_on_the_path_does() -> None:
    """Typed after it, in a shell that knows nothing else: lines that need no data."""
    if not (ROOT / ".venv/bin/activate").is_file():
        pytest.skip("this checkout has no .venv; bash launch/test.sh makes it")
    (activate,) = (line for line in README.splitlines() if line.startswith("source "))
    harmless = ("cirn-dist --version", "cirn-dist show config", "cirn-dist sweep list")
    lines = [line for line in COMMANDS if line.startswith(harmless)]
    assert len(lines) >= 3
    shell = ["bash", "--noprofile", "--norc", "-euc", "\n".join([activate, *lines])]
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run(shell, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert __version__ in done.stdout


def test_classes_of_ones_own_from_raw_folders_to_another_program(
    mini: Path, tmp_path: Path, cirn_dist: Command
) -> None:
    """The README's recipe and its lines, raw folders of five classes: look, train, score, predict, export, load."""
    (recipe,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    (tmp_path / "mine.yaml").write_text(recipe)
    draw = np.random.default_rng(0)
    for domain, splits in (("synthetic", ["train"]), ("real", ["train", "val"])):
        for split in splits:
            for kind in ("images", "labels"):
                (tmp_path / domain / split / kind).mkdir(parents=True)
            for name in ("a", "b", "c", "d"):
                photo = draw.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(photo).save(tmp_path / domain / split / f"images/{name}.png")
                label = draw.integers(0, 5, (40, 48), dtype=np.uint8)
                Image.fromarray(label).save(tmp_path / domain / split / f"labels/{name}.png")
    classes = ("ground", "plant", "building", "sky", "vehicle")
    out = tmp_path / "run"

    def follow(start: str, *more: object) -> str:
        (line,) = (line for line in COMMANDS if line.startswith(f"cirn-dist {start}"))
        line = re.sub(r"(?<=[ =])/data", str(tmp_path), line).replace("mine.yaml", f"{tmp_path}/mine.yaml")
        line = line.replace("runs/demo", str(out)).replace("photos/", f"{tmp_path}/real/val/images")
        line = line.replace("streets_camvid ", f"{mini} ").replace("demo.safetensors", f"{tmp_path}/mine.safetensors")
        line = line.replace("--out predictions", f"--out {tmp_path}/predictions")
        done = cirn_dist(*line.split()[1:], *more)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert "5 of 5 classes of mine5 seen, 0.0 %" in follow("look /data", "--out", tmp_path / "look.html")
    follow("run streets_camvid data.label_space=null", "with_cir=false", "controls=false", "--out", out)
    results = read_results(out)
    assert results.classes == classes
    assert all(row.miou is not None and len(row.iou) == 5 for row in results.rows)
    assert "vehicle" in (out / "report.html").read_text()
    follow("report runs/demo")
    follow("evaluate runs/demo runs/demo/data/scored", "--json", tmp_path / "scores.json")
    (scored,) = json.loads((tmp_path / "scores.json").read_text())
    assert scored["classes"] == list(classes)
    assert scored["scores"]["miou"] == results.rows[-1].miou
    follow("predict runs/demo photos/")
    follow("export runs/demo --out demo.safetensors")
    predicted = np.asarray(Image.open(tmp_path / "predictions/ids/a.png"))
    assert predicted.max() < 5
    program = (
        "import cirn_dist, sys, numpy; from PIL import Image; net = cirn_dist.load(sys.argv[1]);"
        "print(','.join(net.classes), (net.predict(sys.argv[2]).ids == numpy.asarray(Image.open(sys.argv[3]))).all())"
    )
    files = (tmp_path / "mine.safetensors", tmp_path / "real/val/images/a.png", tmp_path / "predictions/ids/a.png")
    loaded = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert loaded.stdout.split() == [",".join(classes), "True"]


def test_the_floors_the_readme_draws_are_those_the_imports_keep() -> None:
    """Each line of "Reading the code" names rooms that are there, none above one that the floors put below it."""
    (drawing,) = re.findall(r"From the top:\n\n```\n(.*?)```", README, re.S)
    floors = [
        [FLOORS[name.removesuffix("/").removesuffix(".py")] for name in re.split(r"  +", line)[0].split()]
        for line in drawing.splitlines()
    ]
    assert all(len({*line}) == 1 or line is floors[-1] for line in floors)
    levels = [level for line in floors for level in line]
    assert levels == sorted(levels, reverse=True)
    assert {*levels} == {*FLOORS.values()}


def test_every_file_the_documents_name_is_there() -> None:
    text = README + CLUSTER + CONTRIBUTING
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target
    for file in re.findall(r"`((?:tests|launch|shards|configs)/[\w/.-]+)`", text):
        assert (ROOT / file).exists(), file
    package = ROOT / "cirn_dist"
    for room in re.findall(r"`((?:models|config|stages|data|engine|display|paper|rundir|report|cli)/[\w/.]*)`", text):
        assert (package / room).exists() or (package / f"{room}.py").is_file(), room


def test_every_setting_the_readme_names_exists() -> None:
    assert load("gta5_cityscapes", ["engine.images_per_step=4"]).engine.images_per_step == 4


def test_the_python_of_the_readme_runs(mini: Path, tmp_path: Path) -> None:
    """As it stands there, in a folder of its own; only the configuration is a tiny one."""
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(tmp_path / "photo.jpg")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    train = 'cirn_dist.train("demo", ["seed=1"])'
    assert train in code
    tiny = f'cirn_dist.train("{mini}", ["with_cir=false", "controls=false"], "runs/demo", until="source")'
    code = code.replace(train, tiny)
    run = [sys.executable, "-c", code]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert Image.open(tmp_path / "seen.png").size == (48, 40)
