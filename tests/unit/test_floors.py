"""Imports go down the floors only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from floors import DATA_FLOORS, FLOORS

PACKAGE = Path(__file__).parents[2] / "cirn_dist"


def imported(path: Path) -> set[tuple[str, ...]]:
    """The modules of the package that a file imports, as their places below it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {tuple(name.split(".")[1:]) for name in names if name.startswith("cirn_dist.")}
    return found


def place(path: Path) -> tuple[str, ...]:
    return path.relative_to(PACKAGE).with_suffix("").parts


def assert_downward(own: str, others: set[str], floors: dict[str, int]) -> None:
    assert own in floors, f"{own} has no floor"
    for other in others & floors.keys():
        assert other == own or floors[other] <= floors[own], f"{own} (floor {floors[own]}) imports {other}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    assert_downward(place(path)[0], {other[0] for other in imported(path)}, FLOORS)


@pytest.mark.parametrize(
    "path",
    sorted((PACKAGE / "data").glob("*/*.py")) + sorted((PACKAGE / "data").glob("[!_]*.py")),
    ids=lambda p: p.name,
)
def test_imports_within_data_go_down_only(path: Path) -> None:
    others = {other[1] for other in imported(path) if other[0] == "data" and len(other) > 1}
    assert_downward(place(path)[1], others, DATA_FLOORS)


def test_the_outer_folders_hold_no_python() -> None:
    root = PACKAGE.parent
    assert not [path for name in ("configs", "launch", "shards") for path in (root / name).rglob("*.py")]
