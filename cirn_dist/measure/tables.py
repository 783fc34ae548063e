"""Measurements and findings as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cirn_dist.display.terminal import Listing
from cirn_dist.measure.findings import Finding, Footprint
from cirn_dist.measure.reading import Bench


def findings_table(findings: Sequence[Finding]) -> RenderableType:
    """Lay out what was found, with advice below what needs some."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        mark = Text("✗", "red") if one.broken else Text("!", "yellow") if one.advice else Text("✓", "green")
        table.add_row(mark, one.what, one.found)
        if one.advice:
            table.add_row("", "", Text(one.advice, "red" if one.broken else "yellow"))
    return table


def memory_table(footprints: Sequence[Footprint], precision: str, available: int | None = None) -> RenderableType:
    """Lay out each stage's memory on one rank, in GiB.

    Args:
        precision: what it is estimated for.
        available: of the GPU, in bytes; a stage that needs more is marked.
    """
    table = Listing(
        "Stage", "Largest image", "Parameters", "Gradients", "Optimizer", "Activations", "Peak", ruled=False
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for one in footprints:
        parts = (one.parameters, one.gradients, one.optimizer, one.activations, one.total)
        too_much = available is not None and one.total > available
        table.add_row(
            one.stage, one.images, *(f"{part / 2**30:.2f}" for part in parts), style="red" if too_much else ""
        )
    how = (
        "measured on this GPU"
        if all(one.measured for one in footprints)
        else "counted from the step's allocations; a GPU adds about 1 GiB for its context and its libraries' workspaces"
    )
    return Group(Text(f"Memory of one rank, GiB, {precision}; {how}", style="dim"), table)


def save_bench_table(found: Mapping[str, Any]) -> RenderableType:
    """Lay out what saving and resuming cost."""
    size = f"{found['parameters'] / 1e6:.1f} M parameters, {found['bytes'] / 2**20:,.0f} MiB with the optimizers"
    table = Listing(title=f"{size}, {found['device']}", ruled=False, show_header=False)
    for name, value in (
        ("training stands still for a save", f"{found['stall_ms']:.1f} ms"),
        ("    the first one, which takes the memory", f"{found['first_stall_ms']:.1f} ms"),
        ("    were it written in the foreground", f"{1000 * found['foreground_s']:,.0f} ms"),
        ("until it is on the disk, meanwhile", f"{found['write_s']:.2f} s"),
        ("to find, verify and load it", f"{found['resume_s']:.2f} s"),
    ):
        table.add_row(name, Text(value, justify="right"))
    return table


def bench_table(bench: Bench) -> RenderableType:
    """Lay out reading rates beside the bare decoders' and webdataset's."""
    table = Listing("images/s, one process on one thread", "", "ratio", ruled=False)
    rows = [("Pillow, decode and resize only", bench.pillow)]
    if bench.torchvision is not None:
        rows.append(("torchvision, decode and resize only", bench.torchvision))
    rows += [("this stream: read, check, decode, resize, augment", bench.stream)]
    rows += [("webdataset's iterator, the same work", bench.webdataset)]
    rows += [(f"loader, per worker, {count} workers", rate) for count, rate in bench.loader.items()]
    for name, rate in rows:
        table.add_row(name, f"{rate:.1f}", f"{rate / max(bench.pillow, bench.torchvision or 0):.2f}")
    latency = (
        f"open and first sample: {1e3 * bench.first_at_0:.1f} ms at k = 0, {1e3 * bench.first_at_1e8:.1f} ms at k = 1e8"
    )
    return Group(
        Text(f"{bench.samples:,} images {bench.image}", style="bold"), Text(bench.machine, "dim"), table, latency
    )
