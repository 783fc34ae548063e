"""The command line's `bench scale`: measured speed by number of ranks, and what the model says of more of them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cirn_dist.cli.options import Config, Json, Overrides, write_result
from cirn_dist.display.terminal import Listing, show
from cirn_dist.errors import ConfigError

if TYPE_CHECKING:
    from cirn_dist.measure.ring_model import Prediction
    from cirn_dist.measure.scaling import Scaling

_PREDICTED = (8, 64, 256)


def bench_scale(
    config: Config,
    overrides: Overrides = None,
    stage: Annotated[str, typer.Option(help="source, translate or adapt.")] = "adapt",
    ranks: Annotated[str | None, typer.Option(metavar="R,R,...", help="Default: 1, 2, 4, ... up to the GPUs.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Counted, after two of warm-up.")] = 10,
    gpus_per_node: Annotated[int, typer.Option(min=1, help="Of the machines to predict.")] = 8,
    intra: Annotated[
        str, typer.Option(help="Inside a node: pcie (10 GB/s), v100 (NVLink, 130), a100 (NVLink, 230), or GB/s.")
    ] = "v100",
    inter: Annotated[str, typer.Option(metavar="GBIT,...", help="Networks between nodes.")] = "25,100,200",
    image_seconds: Annotated[
        float | None, typer.Option(min=1e-9, help="One image's passes on the GPU to predict; default: as measured.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the runs in this folder.")] = None,
    json: Json = None,
) -> None:
    """Train a stage's step on 1, 2, ... ranks, and predict 8, 64 and 256 GPUs from it."""
    from cirn_dist.display.shards import counting
    from cirn_dist.measure.ring_model import INTER, INTRA, Link, predict, smallest_batch
    from cirn_dist.measure.scaling import bench_scale as measure

    inside = INTRA.get(intra) or Link(_positive(intra, "--intra") * 1e9, INTRA["v100"].latency)
    networks = {name: INTER.get(name) or Link(0.9 / 8 * _positive(name, "--inter") * 1e9, INTER["100"].latency)
                for name in inter.split(",")}  # fmt: skip
    worlds = _worlds(ranks)
    with tempfile.TemporaryDirectory(prefix="cirn-scale-") as scratch, counting("measuring") as count:
        found = measure(
            config, overrides or [], out or Path(scratch), stage=stage, ranks=worlds, steps=steps, progress=count
        )
    work = found.work if image_seconds is None else dataclasses.replace(found.work, image=image_seconds)
    batch = found.measured[0].images_per_step
    predicted = {
        name: [predict(work, r, smallest_batch(r, batch), gpus_per_node, inside, link) for r in _PREDICTED]
        for name, link in networks.items()
    }
    show(measured_table(found))
    show(predicted_table(predicted, work.image, gpus_per_node, intra))
    write_result(json, as_json(found, predicted))


def measured_table(found: Scaling) -> Listing:
    """Lay out what was measured, the model's speed beside it; times in milliseconds per step."""
    titles = ("ranks", "images/s", "efficiency", "model\nimages/s", "step\nms", "waiting\nfor data", "all-\nreduce",
              "not\nhidden", "reduced\nMB")  # fmt: skip
    table = _table(f"{found.stage}, {found.measured[0].images_per_step} images per step, one at a time", titles)
    table.caption = f"{found.machine}, {found.threads} thread(s) per rank"
    for one in found.measured:
        model = found.model(one)
        table.add_row(
            str(one.ranks), f"{one.speed:.2f}", f"{found.efficiency(one):.0%}",
            "" if model is None else f"{model.speed:.2f}", *map(_ms, (one.step, one.data, one.reduce, one.exposed)),
            f"{one.reduced / 1e6:.1f}",
        )  # fmt: skip
    return table


def predicted_table(predicted: dict[str, list[Prediction]], image: float, gpus_per_node: int, intra: str) -> Listing:
    """Lay out the model's images/s and efficiency for larger worlds, one column per network."""
    title = f"predicted, images/s: {_ms(image)} ms per image, {gpus_per_node} GPUs per node, {intra} inside"
    table = _table(title, ("GPUs", "images\nper step", *(f"between nodes\n{name} Gbit/s" for name in predicted)))
    for row in zip(*predicted.values(), strict=True):
        cells = [f"{one.speed:,.1f} ({one.efficiency:.0%})" for one in row]
        table.add_row(str(row[0].ranks), str(row[0].images_per_step), *cells)
    return table


def _table(title: str, columns: Sequence[str]) -> Listing:
    table = Listing(title=title, ruled=False, collapse_padding=True, padding=(0, 2, 0, 0), caption_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def as_json(found: Scaling, predicted: dict[str, list[Prediction]]) -> dict[str, Any]:
    """Return everything the tables show, in seconds and bytes."""
    rows = []
    for one in found.measured:
        model = found.model(one)
        model_speed = None if model is None else model.speed
        derived = {"speed": one.speed, "efficiency": found.efficiency(one), "model_speed": model_speed}
        rows.append(dataclasses.asdict(one) | derived)
    return {
        "machine": found.machine,
        "stage": found.stage,
        "threads": found.threads,
        "measured": rows,
        "predicted": {name: [dataclasses.asdict(one) for one in row] for name, row in predicted.items()},
    }


def _worlds(asked: str | None) -> Sequence[int]:
    if asked is not None:
        try:
            return [int(word) for word in asked.split(",")]
        except ValueError:
            raise ConfigError(f"not numbers: {asked}", where="--ranks", fix="for example 1,2,4") from None
    import torch

    most = torch.cuda.device_count() if torch.cuda.is_available() else 2
    return [2**i for i in range(most.bit_length())]


def _positive(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ConfigError(f"neither a known link nor a bandwidth: {text!r}", where=where, fix="see bench scale --help")
    return value


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}"
