"""The command line's `bench step`: what a stage's step costs on this machine, and beside another's."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated

import typer

from cirn_dist.choices import AskedPrecision
from cirn_dist.cli.options import Json, Overrides, read_size, write_result
from cirn_dist.display.terminal import Listing, show

if TYPE_CHECKING:
    from cirn_dist.measure.steps import StepBench


def bench_step(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="source, translate, cir, adapt or self_train.")],
    overrides: Overrides = None,
    config: Annotated[str, typer.Option(help="Whose networks and losses.")] = "gta5_cityscapes",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Of the images, whole; default: the configuration's crops.")
    ] = None,
    precision: Annotated[AskedPrecision | None, typer.Option(help="Default: the configuration's.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="A checkout of CLAN or contrastive-unpaired-translation; `plain`: a loop without us."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Counted, after two of warm-up.")] = 10,
    json: Json = None,
) -> None:
    """Time a training step on drawn images, with networks of random weights, on one device of this machine."""
    from cirn_dist.config.load import load
    from cirn_dist.measure.steps import bench_step as measure
    from cirn_dist.precision import choose_precision, hardware, uses_cuda

    changes = ["model.weights=null", "model.segmenter=null", *(overrides or [])]
    if (wanted := read_size(size, "--size")) is not None:
        whole = json_text.dumps(wanted)
        changes += [f"data.{domain}.size={whole}" for domain in ("source", "target")]
        changes += [f"{name}.augment.{key}" for name in ("source", "cir", "translate", "adapt", "self_train")
                    for key in (f"crop={whole}", "scales=[1.0]")]  # fmt: skip
        changes.append("translate.load_width=null")
    settings = load(config, changes)
    chosen = choose_precision(precision or settings.engine.precision, hardware())
    found = measure(settings, stage, chosen, "cuda" if uses_cuda() else "cpu", steps=steps, against=against)
    show(bench_table(found))
    derived = {"images_per_second": found.speed, "share": found.share}
    write_result(json, found.model_dump(mode="json") | derived)


def bench_table(found: StepBench) -> Listing:
    """Lay out what was measured; times in milliseconds."""
    head = f"{found.stage}, {found.images_per_step} of each domain at {found.images}, {found.precision}"
    table = Listing(title=head, ruled=False, show_header=False, padding=(0, 2, 0, 0), caption_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_row("images per second", f"{found.speed:.2f}")
    timed = [one for one in (found.ours, found.against) if one is not None]
    for one in timed:
        table.add_row(f"a step, {one.name}", f"{_ms(one.wall)} ms, {_ms(one.cpu)} of the CPU")
    if found.ratio is not None:
        table.add_row("ours by theirs", f"{found.ratio:.2f}")
    table.add_row("counted work", f"{found.flop / 1e9:,.0f} GFLOP")
    table.add_row("of this machine's matrix peak", f"{found.share:.0%} of {found.peak / 1e9:,.0f} GFLOP/s")
    table.add_row("peak memory", f"{found.memory / 2**30:.2f} GiB")
    for name, seconds in sorted(found.phases.items(), key=lambda item: -item[1]):
        table.add_row(f"  {name}", f"{_ms(seconds)} ms")
    table.caption = f"{found.machine}, {found.device}, {found.threads} thread(s), median of {found.steps}"
    return table


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}"
