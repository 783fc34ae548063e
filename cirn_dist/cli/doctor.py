"""The command line's verbs before a run: doctor looks, fetch brings what a machine without a network cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cirn_dist.cli.options import Config, Overrides
from cirn_dist.display.terminal import show


def doctor(
    config: Annotated[str | None, typer.Option(help="Also estimate the memory of this configuration's stages.")] = None,
    overrides: Overrides = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None, typer.Option(help="For the estimate; the configuration's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs would be written.")] = Path("runs"),
) -> None:
    """Say whether this machine can run, what `auto` would choose, and how much memory a configuration needs."""
    from cirn_dist.measure.doctor import examine
    from cirn_dist.measure.tables import findings_table

    findings = examine(out)
    show(findings_table(findings))
    broken = any(one.broken for one in findings)
    if config is not None and not broken:
        import torch

        from cirn_dist.choices import Precision
        from cirn_dist.config.load import load
        from cirn_dist.measure.footprint import footprints
        from cirn_dist.measure.tables import memory_table
        from cirn_dist.precision import choose_precision, hardware

        settings, machine = load(config, overrides or []), hardware()
        asked = precision or settings.engine.precision
        # A laptop may be asked about a GPU's fp16: nothing is computed there.
        elsewhere = asked == "fp16" and machine.device == "cpu"
        chosen: Precision = "fp16" if elsewhere else choose_precision(asked, machine, settings.model.backbone)
        gpu = machine.device == "cuda"
        available = torch.cuda.get_device_properties(0).total_memory if gpu else None
        estimates = footprints(settings, chosen, machine.device)
        show()
        show(memory_table(estimates, chosen, available))
    raise typer.Exit(1 if broken else 0)


def fetch(
    config: Config,
    overrides: Overrides = None,
) -> None:
    """Download the weights a configuration starts from, to where its run will look; $TORCH_HOME moves that."""
    from cirn_dist.config.load import load
    from cirn_dist.models.downloads import fetch as fetched

    model = load(config, overrides or []).model
    if model.segmenter is not None or model.weights != "imagenet":
        print(f"nothing to download: it starts from {model.segmenter or model.weights or 'random weights'}")
        return
    print(fetched(model.backbone))
