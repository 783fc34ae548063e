"""The command line's verb that takes a trained network out of its run: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cirn_dist.cli.options import Device, OfStage, Trained
from cirn_dist.errors import CheckpointError, ConfigError


def export(
    run: Trained,
    out: Annotated[Path, typer.Option(help="A .safetensors file.")],
    stage: OfStage = None,
    image: Annotated[Path | None, typer.Option(help="To compare on; default: noise.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    device: Device = None,
) -> None:
    """Write a trained network into one file, with its classes, colours and settings; read it again and compare."""
    import numpy as np

    from cirn_dist.inference.export import difference
    from cirn_dist.inference.export import export as write
    from cirn_dist.inference.load import load
    from cirn_dist.inference.pictures import as_pixels

    if out.suffix != ".safetensors":
        raise ConfigError(f"ends in {out.suffix or 'nothing'}", where=out, fix="call it NAME.safetensors")
    for file in (out, out.with_suffix(".md")):
        if file.exists() and not overwrite:
            raise ConfigError("is there already", where=file, fix="choose another name, or insist with --overwrite")
    if not out.absolute().parent.is_dir():
        raise ConfigError("there is no such folder", where=out.parent, fix="make it, or choose another")
    net = load(run, stage, device)
    width, height = net.size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    shown = noise if image is None else as_pixels(image)
    card = write(net, out)
    pixels, confidence = difference(net, out, shown)
    if pixels:
        raise CheckpointError(f"read again it differs in {100 * pixels:.3g} % of the pixels", where=out)
    print(f"{out}\n{card}")
    print(f"read again: the same class at every pixel, confidence within {confidence:.1g}")
