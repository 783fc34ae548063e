"""What is printed is never cut: whole lines without a terminal, lines in place of a table on a narrow one."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from conftest import ROOT
from rich.console import Console
from rich.table import Column
from rich.text import Text

from cirn_dist.display.checkpoints import inventory_table
from cirn_dist.display.provenance import provenance_tree
from cirn_dist.display.terminal import Listing, show
from cirn_dist.rundir.inventory import Entry
from cirn_dist.rundir.provenance import SHORT, Node

FINGERPRINT = "4f1c" * 16


def listing() -> Listing:
    table = Listing("Stage", Column("Iteration", justify="right"), Column("Kept as", overflow="fold"), title="Kept")
    table.add_row("source", Text("100,000", "bold"), "newest, the best by the target's labels, finished")
    table.add_row("", "98,000", "one every 2,000 iterations")
    table.add_row("cir", "5", FINGERPRINT)
    return table


def printed(renderable: object, width: int, *, terminal: bool = True) -> list[str]:
    out = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    out.print(renderable)
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def words(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("width", [200, 90, 84, 70, 60, 40])
def test_nothing_is_lost_at_any_width(width: int) -> None:
    lines = printed(listing(), width)
    assert max(map(len, lines)) <= width
    text = "".join(line.strip() for line in lines)
    for piece in ("100,000", "98,000", "Iteration", "Kept", FINGERPRINT):
        assert piece in text
    assert "…" not in text


def test_a_text_column_wraps_between_words_before_the_table_becomes_lines() -> None:
    wide, wrapped, narrow = printed(listing(), 200), printed(listing(), 84), printed(listing(), 60)
    assert re.search(r"source +100,000 +newest, the best by the target's labels, finished$", "\n".join(wide), re.M)
    assert all(FINGERPRINT in "\n".join(lines) for lines in (wide, wrapped)), "no word is broken in a table"
    assert narrow[:4] == [
        "Kept",
        "source",
        "  Iteration: 100,000",
        "  Kept as:   newest, the best by the target's labels,",
    ]
    assert words(narrow).count("source") == 2, "a row without a first cell belongs to the one before"


def test_it_prints_the_same_again() -> None:
    table = listing()
    first = printed(table, 84)
    printed(table, 50)
    assert printed(table, 84) == first


def test_without_a_terminal_lines_are_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = listing()
    table.add_row("adapt", "7", "word " * 200 + "end")
    show(table)
    show("x " * 300 + "end")
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert re.search(rf"cir +5 +{FINGERPRINT}$", re.sub(" +$", "", text, flags=re.M), re.M)
    assert text.count(" end\n") == 1
    assert sum(line.rstrip().endswith("word end") for line in text.splitlines()) == 1


def test_why_a_checkpoint_stays_is_shown_on_a_narrow_terminal() -> None:
    entry = Entry(
        stage="source_control", step=25_000, path=Path("x"), iteration=100_000, bytes=12_345_678,
        kept=["newest", "best"], finished=True, stalled_ms=81.3, written_s=2.3,
    )  # fmt: skip
    assert "newest, best, finished" in words(printed(inventory_table([entry]), 60))


def test_a_tree_keeps_its_fingerprints_whole() -> None:
    root = Node("run", "runs/night")
    root.parents.append(("data", Node("shards", "data/source", "2,975 images in 12 tars", FINGERPRINT)))
    assert FINGERPRINT[:SHORT] in words(printed(provenance_tree(root), 44))


def test_every_table_and_every_print_goes_through_it() -> None:
    """A rich Table of its own would be cut, a Console of its own has 80 columns in a pipe."""
    for path in (ROOT / "cirn_dist").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        for call in calls:
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            on_stderr = any(keyword.arg == "stderr" for keyword in call.keywords)
            if path.name != "terminal.py" and not on_stderr:
                assert name not in ("Table", "Console"), f"{path}:{call.lineno}"


def test_names_in_a_table_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = Listing("Run", "Note")
    table.add_row("a\x1b[2Jb", "[red]not markup[/red] [/]")
    table.add_row(Text("c\x07d", style="bold"), "two\nlines")
    show(table)
    shown = capsys.readouterr().out
    assert "a\\x1b[2Jb" in shown
    assert "[red]not markup[/red] [/]" in shown
    assert "cd" in shown
    assert "\x1b" not in shown
