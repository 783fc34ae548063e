"""Imports go down the floors only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from floors import FLOORS

PACKAGE = Path(__file__).parents[2] / "cirn_dist"


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
