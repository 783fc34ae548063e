"""The command line's verb that predicts images with a trained network."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cirn_dist.cli.options import AlsoOf, Device, Json, OfStage, OfTeacher, OfWeights, Trained, read_size, write_result
from cirn_dist.errors import ConfigError, one_line

if TYPE_CHECKING:
    from cirn_dist.inference.files import Done
    from cirn_dist.inference.load import TrainedSegmenter


def predict(
    run: Trained,
    images: Annotated[list[str], typer.Argument(help="Image files, folders or patterns.")],
    out: Annotated[Path, typer.Option(help="Folder of the predictions: ids/, colour/, overlay/, confidence/.")],
    stage: OfStage = None,
    teacher: OfTeacher = False,
    also: AlsoOf = None,
    ids: Annotated[bool, typer.Option(help="8-bit PNG of class ids.")] = True,
    colour: Annotated[bool, typer.Option(help="PNG in the palette's colours.")] = True,
    overlay: Annotated[bool, typer.Option("--overlay", help="The colours laid over the image.")] = False,
    confidence: Annotated[bool, typer.Option("--confidence", help="16-bit PNG of the class's probability.")] = False,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="What the network sees; default: as it was trained.")
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="See large images in overlapping windows of this size, not as a whole."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images of one size in a forward pass.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read, and threads that write.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace predictions that are there.")] = False,
    config: OfWeights = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """Predict the classes of images of any size; exit 1 if one could not be read, the others are done.

    Under a launcher its processes share the images.
    """
    from cirn_dist.cli.ranks import together
    from cirn_dist.display.shards import counting
    from cirn_dist.inference.files import KINDS, Done, assert_free, jobs, predict_files
    from cirn_dist.inference.load import load

    kinds = [kind for kind, wanted in zip(KINDS, (ids, colour, overlay, confidence), strict=True) if wanted]
    if not kinds:
        raise ConfigError("nothing would be written", fix="leave one of --ids, --colour, --overlay, --confidence")
    shape, seen = read_size(window, "--window"), read_size(size, "--size")
    with together() as ranks:
        todo = ranks.on_main(lambda: jobs(images))
        if not overwrite:
            ranks.on_main(lambda: assert_free(out, (job.name for job in todo), kinds))
        net = load(run, stage, device or ranks.device, config, teacher=teacher, also=also or ())
        own = todo[ranks.rank :: ranks.world]
        began = time.perf_counter()
        with counting("predicting", quiet=not ranks.main) as count:
            done = predict_files(
                net, own, out, kinds, batch=batch, size=seen, window=shape, workers=workers, progress=count
            )
        done = Done.of(ranks.gather(done))
        seconds = time.perf_counter() - began
        if ranks.main:
            _say(done, net, out, seconds)
            facts = {
                "checkpoint": str(net.checkpoint),
                "also": list(map(str, net.also)),
                "stage": net.stage,
                "classes": net.classes,
                "kinds": kinds,
            }
            write_result(json, facts | {"predicted": done.predicted, "damaged": done.damaged, "seconds": seconds})
        if done.damaged:
            raise SystemExit(1)


def _say(done: Done, net: TrainedSegmenter, out: Path, seconds: float) -> None:
    for one in done.damaged:
        print(one_line(f"cirn-dist: {one['file']}: {one['reason']}; left out"), file=sys.stderr)
    left = f", {len(done.damaged):,} could not be read" if done.damaged else ""
    pace = f"{done.predicted / seconds:.1f} a second"
    print(f"{done.predicted:,} images predicted by {net.stage} into {out}, {pace}{left}")
