"""The command line: one thin function per verb."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

import cirn_dist
from cirn_dist.cli.bench import bench_scale
from cirn_dist.cli.bench_step import bench_step
from cirn_dist.cli.checkpoints import bench_checkpoint, checkpoints_app
from cirn_dist.cli.doctor import doctor, fetch
from cirn_dist.cli.evaluate import evaluate
from cirn_dist.cli.export import export
from cirn_dist.cli.look import look
from cirn_dist.cli.options import Json, write_result
from cirn_dist.cli.paper import show_app, tables
from cirn_dist.cli.predict import predict
from cirn_dist.cli.run import demo, run
from cirn_dist.cli.runs import runs, watch
from cirn_dist.cli.shards import bench_app, pack, shards_app
from cirn_dist.cli.sweep import sweep_app
from cirn_dist.display.terminal import show
from cirn_dist.errors import CirnError, ConfigError, one_line
from cirn_dist.files import naming_the_file

app = typer.Typer(
    help="Distributed unsupervised domain adaptation for semantic segmentation: the CIRN paper.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"cirn-dist {cirn_dist.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Take the options that go before a verb."""


app.command()(demo)
app.command()(run)
app.command()(doctor)
app.command()(fetch)
app.command()(look)
app.command()(pack)
bench_app.command("scale")(bench_scale)
bench_app.command("step")(bench_step)
app.command()(predict)
app.command()(evaluate)
app.command()(export)
app.command()(runs)
app.command()(watch)
app.command()(tables)
app.add_typer(shards_app, name="shards")
app.add_typer(sweep_app, name="sweep")
bench_app.command("checkpoint")(bench_checkpoint)
app.add_typer(bench_app, name="bench")
app.add_typer(show_app, name="show")
app.add_typer(checkpoints_app, name="checkpoints")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of several runs: also a page that puts them side by side.")
    ] = None,
    json: Json = None,
) -> None:
    """Write a run's report.html; of several runs, compare their experiments: mean and spread over seeds, in pairs."""
    from cirn_dist.display.comparison import compare
    from cirn_dist.display.summary import summarise_seeds
    from cirn_dist.report.compare import write_comparison
    from cirn_dist.report.html import write_report
    from cirn_dist.rundir.results import FILE_NAME as RESULTS

    if len(runs) == 1:
        if out is not None:
            raise ConfigError("is for several runs", where="--out", fix="the report of one is in its folder")
        state = _state(runs[0])  # first: nothing is written into a folder that is no run's
        print(write_report(runs[0]))
        if not (runs[0] / RESULTS).is_file():
            print(f"no scores yet; {state}")
            return
        print(state)
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise ConfigError("is no file that could be written", where=out, fix="name another file with --out")
    found = compare(runs)
    summary = found if len(found.experiments) > 1 else summarise_seeds(runs)
    show(summary)
    if out is not None:
        print(write_comparison(found, out))
    write_result(json, summary)


def _state(run: Path) -> str:
    """Say how far a run is; one of an older version's settings still has a report."""
    from cirn_dist.rundir.status import status

    try:
        return str(status(run))
    except ConfigError as error:
        return f"how far it is cannot be told: {error}"


@app.command("import-weights")
def import_weights(
    file: Annotated[Path, typer.Argument(help="A .pth or .safetensors file, e.g. AdaptSegNet's or CLAN's.")],
    out: Annotated[Path | None, typer.Option(help="Default: FILE with the ending .safetensors.")] = None,
    backbone: Annotated[str, typer.Option(help="The lineage's is resnet101_caffe.")] = "resnet101_caffe",
    space: Annotated[str, typer.Option(help="Label space of its classifiers.")] = "cityscapes19",
    json: Json = None,
) -> None:
    """Convert another project's weights for model.weights or model.segmenter, and say what matched."""
    from cirn_dist.data.run_sets.label_space import named_space
    from cirn_dist.display.weights import import_table
    from cirn_dist.models.imported import import_file

    made = out or file.with_suffix(".safetensors" if file.suffix != ".safetensors" else ".imported.safetensors")
    found = import_file(file, made, backbone=backbone, space=named_space(space))
    show(import_table(found))
    write_result(json, found)


@app.command()
def scripts(
    to: Annotated[
        Path | None, typer.Option(help="Copy them there first: out of a container's image, to a host.")
    ] = None,
) -> None:
    """Print the folder of the launch scripts, e.g. for sbatch $(cirn-dist scripts)/slurm/pipeline.sbatch."""
    from cirn_dist.resources import folder

    found = folder("launch")
    if to is not None:
        try:
            found = Path(shutil.copytree(found, to, dirs_exist_ok=True))
        except OSError as error:
            what = f"cannot be written: {error.strerror or error}"
            raise CirnError(what, where=to, fix="choose another folder") from error
    print(found)


class _OneLine(logging.Formatter):
    """Keeps our own warnings on their line, whatever a file is called."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.name.startswith("cirn_dist"):
            record.message = one_line(record.message)
        return super().formatMessage(record)


def main() -> None:
    """Run the command line; an expected error is one line and an exit code, never a traceback."""
    told = logging.StreamHandler()
    told.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[told], level=logging.WARNING)
    try:
        with naming_the_file():
            app()
    except CirnError as error:
        print(f"cirn-dist: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
