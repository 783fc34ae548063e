"""The command line's verbs that start a run, demo and run, and how they do it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cirn_dist.cli.options import Config, Json, Overrides

if TYPE_CHECKING:
    from cirn_dist.config.layers import Setting

Out = Annotated[Path | None, typer.Option(help="Folder of the run; started again in it, a run continues.")]
Until = Annotated[str | None, typer.Option(metavar="STAGE", help="End after this stage.")]
Minutes = Annotated[
    float | None, typer.Option("--max-minutes", min=0, help="Save and end in time to be gone after so many minutes.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="Continue although this setting or data set is another one; repeatable."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check the configuration and its data, print the run's folder and its stages, and end."
    ),
]


def demo(
    smoke: Annotated[bool, typer.Option("--smoke", help="The same, tiny: under two minutes on two cores.")] = False,
    out: Out = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Json = None,
    until: Until = None,
    max_minutes: Minutes = None,
    overrides: Overrides = None,
) -> None:
    """Run the whole pipeline on two procedural street domains; needs no data and no GPU."""
    name = "smoke" if smoke else "demo"
    settings = [f"seed={seed}", *(overrides or [])]
    begin(name, settings, out or Path("runs") / name, json, until=until, max_minutes=max_minutes)


def run(
    config: Config,
    overrides: Overrides = None,
    out: Out = None,
    json: Json = None,
    until: Until = None,
    max_minutes: Minutes = None,
    dry_run: DryRun = False,
    allow: Allow = None,
) -> None:
    """Run the pipeline of a configuration, or continue it."""
    begin(
        config,
        overrides or [],
        out,
        json,
        until=until,
        max_minutes=max_minutes,
        dry_run=dry_run,
        allow=allow or [],
    )


def begin(
    config: str,
    overrides: Sequence[str | Setting],
    out: Path | None,
    json: Path | None,
    *,
    until: str | None = None,
    max_minutes: float | None = None,
    dry_run: bool = False,
    allow: Sequence[str] = (),
) -> None:
    """Load a configuration and start its run, in `runs/NAME` unless `out` says where."""
    deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes  # torch's import counts too
    # Imported here: torch takes seconds, and `--help` or a spelling mistake in a key should not.
    from cirn_dist.config.load import load

    settings = load(config, overrides)
    folder = out or Path("runs") / settings.name
    if dry_run:
        from cirn_dist.chain import stage_titles
        from cirn_dist.data.run_sets.label_space import settled
        from cirn_dist.inputs import check_inputs, to_download

        check_inputs(settled(settings), folder, download=False)
        if (weights := to_download(settings, folder)) is not None:
            told = f"cirn-dist: {weights}: a run downloads these weights first; cirn-dist fetch does it now"
            print(told, file=sys.stderr)
        print(folder, *(stage for stage, _ in stage_titles(settings)), sep="\n")
        return

    from cirn_dist.start import start

    start(settings, folder, json, until=until, deadline=deadline, allow=allow)
