"""The command line's verbs before a run: doctor looks, fetch brings what a machine without a network cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cirn_dist.cli.options import Config, Json, Overrides, write_result
from cirn_dist.display.terminal import show


def doctor(
    config: Annotated[str | None, typer.Option(help="Also look at what a run of this configuration needs.")] = None,
    overrides: Overrides = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None, typer.Option(help="For the estimate; the configuration's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default: runs/NAME.")] = None,
    json: Json = None,
) -> None:
    """Say whether this machine can run, and whether a run of a configuration would get through; exit 1 if not."""
    from cirn_dist.config.load import load
    from cirn_dist.measure.doctor import examine
    from cirn_dist.measure.findings import Finding, Footprint
    from cirn_dist.measure.tables import findings_table

    settings = None if config is None else load(config, overrides or [])
    folder = out or (Path("runs") if settings is None else Path("runs") / settings.name)
    findings: list[Finding] = examine(folder)
    estimates: list[Footprint] = []
    chosen = None
    if settings is not None and not any(one.broken for one in findings):
        from cirn_dist.measure.checkup import check_run

        chosen, estimates, more = check_run(settings, folder, precision or settings.engine.precision)
        findings += more
    show(findings_table(findings))
    if chosen is not None:
        from cirn_dist.measure.checkup import gpu_memory
        from cirn_dist.measure.tables import memory_table

        show()
        show(memory_table(estimates, chosen, gpu_memory()[1] or None))
    broken = any(one.broken for one in findings)
    write_result(json, {"broken": broken, "findings": findings, "precision": chosen, "memory": estimates})
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
