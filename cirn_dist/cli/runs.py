"""The command line's verbs that look at runs from another shell: runs, watch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cirn_dist.cli.options import Json, write_result
from cirn_dist.display.terminal import show, standard_output


def runs(
    folder: Annotated[Path, typer.Argument(help="Where runs are.")] = Path("runs"),
    json: Json = None,
) -> None:
    """List runs, the one written last first: how far each is, its last score, its size."""
    from cirn_dist.display.runs import runs_in, runs_table

    found = runs_in(folder)
    if found:
        show(runs_table(found))
    else:
        print(f"no runs in {folder}")
    write_result(json, found)


def watch(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once; so it is without a terminal.")] = False,
) -> None:
    """Show what a run is doing until no process works in it; nothing of it is written or held up."""
    from rich.live import Live

    from cirn_dist.display.runs import run_view

    found, view = run_view(folder)
    console = standard_output()
    if once or not console.is_terminal or found.works is None:
        show(view)
        return
    with Live(view, console=console, auto_refresh=False) as live:
        while found.works is not None:
            time.sleep(every)
            found, view = run_view(folder)
            live.update(view, refresh=True)
