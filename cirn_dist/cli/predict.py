"""The command line's verb that predicts images with a trained network."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from cirn_dist.cli.options import Device, Json, OfStage, Trained, write_result
from cirn_dist.errors import ConfigError


def predict(
    run: Trained,
    images: Annotated[list[str], typer.Argument(help="Image files, folders or patterns.")],
    out: Annotated[Path, typer.Option(help="Folder of the predictions: ids/, colour/, overlay/, confidence/.")],
    stage: OfStage = None,
    ids: Annotated[bool, typer.Option(help="8-bit PNG of class ids.")] = True,
    colour: Annotated[bool, typer.Option(help="PNG in the palette's colours.")] = True,
    overlay: Annotated[bool, typer.Option("--overlay", help="The colours laid over the image.")] = False,
    confidence: Annotated[bool, typer.Option("--confidence", help="16-bit PNG of the class's probability.")] = False,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="What the network sees; default: as it was trained.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images of one size in a forward pass.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read, and threads that write.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace predictions that are there.")] = False,
    device: Device = None,
    json: Json = None,
) -> None:
    """Predict the classes of images of any size; exit 1 if one could not be read, the others are done."""
    from cirn_dist.display.shards import counting
    from cirn_dist.inference.files import KINDS, assert_free, jobs, predict_files
    from cirn_dist.inference.load import load

    kinds = [kind for kind, wanted in zip(KINDS, (ids, colour, overlay, confidence), strict=True) if wanted]
    if not kinds:
        raise ConfigError("nothing would be written", fix="leave one of --ids, --colour, --overlay, --confidence")
    todo = jobs(images)
    if not overwrite:
        assert_free(out, (job.name for job in todo), kinds)
    net = load(run, stage, device)
    began = time.perf_counter()
    with counting("predicting") as count:
        done = predict_files(net, todo, out, kinds, batch=batch, size=_size(size), workers=workers, progress=count)
    seconds = time.perf_counter() - began
    for one in done.damaged:
        print(f"cirn-dist: {one['file']}: {one['reason']}; left out", file=sys.stderr)
    left = f", {len(done.damaged):,} could not be read" if done.damaged else ""
    print(
        f"{done.predicted:,} images predicted by {net.stage} into {out}, {done.predicted / seconds:.1f} a second{left}"
    )
    facts = {"checkpoint": str(net.checkpoint), "stage": net.stage, "classes": net.classes, "kinds": kinds}
    counts = {"predicted": done.predicted, "damaged": done.damaged, "seconds": seconds}
    write_result(json, facts | counts)
    if done.damaged:
        raise typer.Exit(1)


def _size(text: str | None) -> tuple[int, int] | None:
    """Read WxH."""
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError(f"{text!r} is no size", where="--size", fix="e.g. 1024x512")
    return int(width), int(height)
