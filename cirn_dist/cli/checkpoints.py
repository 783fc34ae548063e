"""The command line's verbs on what a run keeps: show, checkpoints list, verify, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cirn_dist.cli.options import Json, Overrides, write_result
from cirn_dist.display.terminal import show

Folder = Annotated[Path, typer.Argument(help="The folder of a run.")]
Stage = Annotated[str | None, typer.Option(help="Of this stage alone.")]


class RunOr(TyperGroup):
    """A group whose first word may be a run's folder: `show runs/demo` is `show run runs/demo`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take the verb `run` for granted where the first word is none."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


checkpoints_app = typer.Typer(help="Look at the checkpoints of a run.", no_args_is_help=True)


def show_run(folder: Folder, json: Json = None) -> None:
    """Print what everything in a run was made of, from its scores to the raw data; exit 1 if a link does not fit."""
    from cirn_dist.display.provenance import provenance_tree
    from cirn_dist.rundir.provenance import provenance
    from cirn_dist.rundir.status import status

    found = provenance(folder)
    print(status(folder))
    show(provenance_tree(found))
    write_result(json, found.to_json() | {"problems": found.problems()})
    if found.problems():
        raise typer.Exit(1)


@checkpoints_app.command("list")
def list_checkpoints(folder: Folder, stage: Stage = None, json: Json = None) -> None:
    """List a run's checkpoints: what each holds, why it stays, what saving it cost."""
    from cirn_dist.display.checkpoints import inventory_table
    from cirn_dist.rundir.inventory import inventory
    from cirn_dist.rundir.status import status

    found = inventory(folder, stage)
    print(status(folder))
    show(inventory_table(found))
    write_result(json, found)


@checkpoints_app.command()
def verify(folder: Folder, stage: Stage = None, json: Json = None) -> None:
    """Read every byte of every checkpoint again; exit 1 if one is damaged."""
    from cirn_dist.display.checkpoints import verified_table
    from cirn_dist.rundir.inventory import inventory

    found = inventory(folder, stage, check=True)
    show(verified_table(found))
    write_result(json, found)
    if any(entry.problem for entry in found):
        raise typer.Exit(1)


@checkpoints_app.command("show")
def show_checkpoint(
    folder: Folder,
    stage: Stage = None,
    step: Annotated[int | None, typer.Option(help="Default: the newest valid one.")] = None,
    json: Json = None,
) -> None:
    """Show what one checkpoint of each stage holds and where it comes from."""
    from cirn_dist.display.checkpoints import contents_table
    from cirn_dist.rundir.inventory import contents

    found = contents(folder, stage, step)
    show(contents_table(found))
    write_result(json, found)


def bench_checkpoint(
    config: Annotated[str, typer.Argument(help="Whose networks; default: the paper's.")] = "gta5_cityscapes",
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder on the file system to measure.")] = Path("runs"),
    saves: Annotated[int, typer.Option(min=1)] = 5,
    json: Json = None,
) -> None:
    """Measure what a save delays training by, how long its write takes, and how long resuming does."""
    import dataclasses
    import tempfile

    from cirn_dist.config.load import load
    from cirn_dist.display.progress import Progress
    from cirn_dist.engine.join import join
    from cirn_dist.engine.run import Run
    from cirn_dist.engine.stop import StopRequest
    from cirn_dist.measure.saving import STAGE, bench_saves
    from cirn_dist.measure.tables import save_bench_table

    settings = load(config, overrides or [])
    runtime = join(settings.engine.precision)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=out) as folder:
        progress = Progress([(STAGE, STAGE)], quiet=True)
        found = bench_saves(Run(settings, Path(folder), runtime, progress, StopRequest(Path(folder) / "STOP")), saves)
    show(save_bench_table(dataclasses.asdict(found)))
    write_result(json, found)
