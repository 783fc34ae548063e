"""Imports go down the floors only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cirn_dist"
FLOORS = {
    "chain": 0, "config": 0, "configfile": 0, "paper": 0, "precision": 0, "problems": 0, "sweep": 0, "errors": 0,
    "libraries": 0, "resources": 0, "schedule": 0, "section": 0, "seeds": 0, "transfer": 0, "yamlfile": 0,
    "data": 1, "losses": 1, "models": 1,
    "checkpoint": 2, "report": 2,
    "engine": 3,
    "stages": 4,
    "domains": 5, "inputs": 5, "doctor": 5, "pipeline": 5,
    "cli": 6, "cli_doctor": 6, "cli_bench": 6, "cli_checkpoints": 6, "cli_paper": 6, "cli_run": 6,
    "cli_shards": 6, "cli_sweep": 6, "start": 6, "__main__": 6,
    "__init__": -1,
}  # fmt: skip


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("cirn_dist.")}
    return {name for name in rooms if name in FLOORS}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    own = room(path)
    assert own in FLOORS, f"{own} has no floor"
    for other in imported_rooms(path):
        assert other == own or FLOORS[other] <= FLOORS[own], f"{path.name} (floor {FLOORS[own]}) imports {other}"


def test_the_outer_folders_hold_no_python() -> None:
    root = PACKAGE.parent
    assert not [path for name in ("configs", "launch", "shards") for path in (root / name).rglob("*.py")]
