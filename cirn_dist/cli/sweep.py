"""The command line's verbs on sweeps: list the points, run one, collect what they have brought."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from cirn_dist.cli.options import Json, write_result
from cirn_dist.cli.run import DryRun, Minutes, Until, begin
from cirn_dist.config.layers import Setting
from cirn_dist.display.terminal import show
from cirn_dist.errors import ConfigError
from cirn_dist.paper.sweep import point, points

sweep_app = typer.Typer(help="Many runs from one file: by K, by a weight, by seed.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SWEEP", help="A YAML file, or one of configs/sweeps, e.g. table3_k.")]
Seeds = Annotated[str, typer.Option(metavar="0,1,2", help="In place of the file's; more seeds add points at the end.")]
Folder = Annotated[Path | None, typer.Option("--out", help="Folder of the sweep's runs; default: runs/SWEEP.")]

ARRAY_INDEX = "SLURM_ARRAY_TASK_ID"
# What the points have in common, each made once: setting -> place in the sweep's folder.
SHARED = {"share": ".", "data.packed": "packed"}


@sweep_app.command("list")
def list_points(sweep: Name, seeds: Seeds = "", json: Json = None) -> None:
    """Print the points of a sweep: index, name of the run, settings."""
    found = points(sweep, _numbers(seeds))
    width = max(len(one.name) for one in found)
    for index, one in enumerate(found):
        print(f"{index:>4}  {one.name:<{width}}  {' '.join(one.overrides[:-1])}")  # the last is the name
    write_result(json, [{"index": index, **dataclasses.asdict(one)} for index, one in enumerate(found)])


@sweep_app.command("run")
def run_point(
    sweep: Name,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INDEX] [KEY=VALUE]...", help=f"The point, by default ${ARRAY_INDEX}; settings to change."
        ),
    ] = None,
    seeds: Seeds = "",
    out: Folder = None,
    json: Json = None,
    until: Until = None,
    max_minutes: Minutes = None,
    dry_run: DryRun = False,
) -> None:
    """Run one point of a sweep, or continue it.

    Points share packed sets, and stages that are the same in both; share=null and data.packed=null keep them apart.
    """
    first, overrides = os.environ.get(ARRAY_INDEX), words or []
    if overrides and "=" not in overrides[0]:
        first, *overrides = overrides
    if first is None or not first.isdecimal():
        raise ConfigError(f"not an index: {first}", where=sweep, fix=f"write it after the sweep, or set {ARRAY_INDEX}")
    one = point(sweep, int(first), _numbers(seeds))
    home = _folder(sweep, out)
    own = {key: Setting(tuple(key.split(".")), str(home / name)) for key, name in SHARED.items()}
    given: list[str | Setting] = [*own.values(), *one.settings, *overrides]
    begin(one.base, given, home / one.name, json, until=until, max_minutes=max_minutes, dry_run=dry_run)


@sweep_app.command("collect")
def collect_points(sweep: Name, seeds: Seeds = "", out: Folder = None, json: Json = None) -> None:
    """Print Tables 3 and 4 and the parameter analyses from whatever has finished, beside the paper's."""
    from cirn_dist.config.load import load
    from cirn_dist.paper.sweep_tables import collect
    from cirn_dist.paper.tables import task_of

    found = points(sweep, _numbers(seeds))
    tasks = {one.base: task_of(load(one.base).model_dump(mode="json")) for one in found}
    collected = collect(sweep, found, tasks, _folder(sweep, out))
    show(collected)
    write_result(json, collected)


def _folder(sweep: str, out: Path | None) -> Path:
    return out or Path("runs") / Path(sweep).stem


def _numbers(seeds: str) -> tuple[int, ...]:
    try:
        return tuple(int(seed) for seed in seeds.split(",") if seed)
    except ValueError:
        raise ConfigError(f"not numbers: {seeds}", where="--seeds", fix="write 0,1,2") from None
