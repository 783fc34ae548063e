"""The command line's verbs that put this project beside the paper: show config, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cirn_dist.cli.checkpoints import RunOr, show_run
from cirn_dist.cli.options import Config, Json, Overrides, write_result
from cirn_dist.display.terminal import show

show_app = typer.Typer(cls=RunOr, help="Show what a run would be, or what a run was made of.", no_args_is_help=True)
show_app.command("run")(show_run)


@show_app.command("config")
def show_config(
    config: Config,
    overrides: Overrides = None,
    paper: Annotated[bool, typer.Option("--paper", help="Each value beside what the paper says of it.")] = False,
    json: Json = None,
) -> None:
    """Print a whole configuration, every default filled in and described; it can be saved and run."""
    from cirn_dist.config.load import load
    from cirn_dist.config.schema import flatten
    from cirn_dist.paper.settings import described, settings_table
    from cirn_dist.paper.statements import judge

    settings = load(config, overrides or [])
    judged = list(judge(flatten(settings.model_dump(mode="json"))))
    if paper:
        show(settings_table(judged))
    else:
        print(described(settings), end="")
    write_result(json, judged)


@show_app.command("configs")
def show_configs() -> None:
    """List the configurations that ship, with what each says of itself."""
    from cirn_dist.resources import folder

    for under in ("", "methods", "presets"):
        if under:
            print(f"\nto lay on one of them, as in gta5_cityscapes+NAME ({under}):")
        for file in sorted((folder("configs") / under).glob("*.yaml")):
            first = file.read_text(encoding="utf-8").partition("\n")[0]
            print(f"{file.stem:<28}{first.removeprefix('#').strip() if first.startswith('#') else ''}")


def tables(runs: Annotated[list[Path], typer.Argument(help="Folders of runs.")]) -> None:
    """Print results beside the paper's Tables 1 to 4."""
    from cirn_dist.paper.tables import Run
    from cirn_dist.paper.tables import tables as layout

    show(layout([Run.read(folder) for folder in runs]))
