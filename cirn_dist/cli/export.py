"""The command line's verb that takes a trained network out of its run: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cirn_dist.cli.options import Device, OfStage, OfTeacher, OfWeights, Trained
from cirn_dist.errors import CheckpointError, ConfigError

_ROUNDING = 1e-3  # share of pixels between two classes that another runtime may round to the other side


def export(
    run: Trained,
    out: Annotated[Path, typer.Option(help="NAME.safetensors, NAME.onnx or NAME.pt2 (torch).")],
    form: Annotated[
        str | None, typer.Option("--format", metavar="safetensors|onnx|torch", help="Default: by the file's ending.")
    ] = None,
    stage: OfStage = None,
    teacher: OfTeacher = False,
    image: Annotated[Path | None, typer.Option(help="To compare on; default: noise.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    config: OfWeights = None,
    device: Device = None,
) -> None:
    """Write a trained network into one file, with its classes, colours and settings; read it again and compare."""
    import numpy as np

    from cirn_dist.inference.export import SUFFIXES, card_of, difference
    from cirn_dist.inference.export import export as write
    from cirn_dist.inference.graph import assert_exportable
    from cirn_dist.inference.load import load
    from cirn_dist.inference.pictures import as_pixels

    if out.suffix not in SUFFIXES:
        fix = f"call it NAME{', NAME'.join(SUFFIXES)}"
        raise ConfigError(f"ends in {out.suffix or 'nothing'}", where=out, fix=fix)
    ending = SUFFIXES[out.suffix]
    if form not in (None, ending):
        fix = f"name the file by its format: {', '.join(f'{one} NAME{suffix}' for suffix, one in SUFFIXES.items())}"
        raise ConfigError(f"is called as a file of {ending}, and --format is {form}", where=out, fix=fix)
    form = ending
    if form != "safetensors":
        assert_exportable(form)
    for file in (out, card_of(out)):
        if file.exists() and not overwrite:
            raise ConfigError("is there already", where=file, fix="choose another name, or insist with --overwrite")
    if not out.absolute().parent.is_dir():
        raise ConfigError("there is no such folder", where=out.parent, fix="make it, or choose another")
    net = load(run, stage, device, config, teacher=teacher)
    width, height = net.size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    shown = noise if image is None else as_pixels(image)
    card = write(net, out)
    pixels, confidence = difference(net, out, shown)
    if pixels > (0 if form == "safetensors" else _ROUNDING):
        raise CheckpointError(f"read again it differs in {100 * pixels:.3g} % of the pixels", where=out)
    print(f"{out}\n{card}")
    alike = "the same class at every pixel" if not pixels else f"another class at {100 * pixels:.2g} % of the pixels"
    print(f"read again: {alike}, confidence within {confidence:.1g}")
