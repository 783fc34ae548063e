"""The command line's verb that scores a trained network on a labelled set."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cirn_dist.cli.options import (
    AlsoOf,
    Device,
    Json,
    OfStage,
    OfTeacher,
    OfWeights,
    RecipeOptions,
    Trained,
    recipe_options,
    write_result,
)
from cirn_dist.display.terminal import show
from cirn_dist.errors import ConfigError


def evaluate(
    run: Trained,
    data: Annotated[Path, typer.Argument(help="A packed set, a folder with one per split, or a raw folder.")],
    stage: OfStage = None,
    teacher: OfTeacher = False,
    also: AlsoOf = None,
    recipe: Annotated[str | None, typer.Option(help="Of a raw folder; default: the run's target's.")] = None,
    split: Annotated[str | None, typer.Option(help="Default: the split the run scores.")] = None,
    option: RecipeOptions = None,
    adabn: Annotated[bool, typer.Option("--adabn", help="Also with BatchNorm statistics of the set's images.")] = False,
    scales: Annotated[str | None, typer.Option(metavar="S,S,...", help="Average over; default: the run's.")] = None,
    flip: Annotated[bool | None, typer.Option(help="Average with the mirrored image; default: the run's.")] = None,
    map_labels: Annotated[
        list[str] | None, typer.Option("--map", metavar="CLASS=CLASS", help="The set's class = the network's.")
    ] = None,
    config: OfWeights = None,
    device: Device = None,
    json: Json = None,
) -> None:
    """Score a trained network on any labelled set: IoU per class and mean, pixel accuracy, and in --json all counts.

    Under a launcher its processes share the images; the scores are those of one process.
    """
    from cirn_dist.cli.ranks import together
    from cirn_dist.display.evaluation import evaluation_table
    from cirn_dist.display.shards import counting
    from cirn_dist.engine.runtime import WORK_TIMEOUT
    from cirn_dist.inference.load import load
    from cirn_dist.inference.score import labelled_at, open_labelled, score

    averaged = None if scales is None else [_scale(one) for one in scales.split(",")]
    names = dict(_pair(one) for one in map_labels or []) or None
    options = recipe_options(option or [])
    with together() as ranks, tempfile.TemporaryDirectory(prefix="cirn-evaluate-") as scratch:
        net = load(run, stage, device or ranks.device, config, teacher=teacher, also=also or ())
        with counting("packing", quiet=not ranks.main) as count:
            place = Path(scratch) / "set"
            pack = partial(labelled_at, net, data, place, recipe=recipe, split=split, options=options, progress=count)
            labelled = open_labelled(ranks.on_main(pack, timeout=WORK_TIMEOUT))
        found = []
        for renormalised in (False, True) if adabn else (False,):
            with counting("scoring", quiet=not ranks.main) as count:
                how: dict[str, Any] = {"scales": averaged, "flip": flip, "map_labels": names}
                found.append(score(net, labelled, adabn=renormalised, ranks=ranks, progress=count, **how))
        if ranks.main:
            show(evaluation_table(found, net.space))
            write_result(json, found)
        ranks.barrier()  # the scratch set is rank 0's


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"{text!r} is not CLASS=CLASS", where="--map")
    return key, value


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 16:
        raise ConfigError(f"{text!r} is no scale from 0.1 to 16", where="--scales", fix="e.g. 0.75,1,1.25")
    return value
