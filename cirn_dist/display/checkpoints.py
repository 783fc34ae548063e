"""What is shown of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from cirn_dist.display.tables import DASH, percent
from cirn_dist.display.terminal import Listing
from cirn_dist.rundir.inventory import Contents, Entry
from cirn_dist.rundir.saves import Save


def saves_line(saves: Sequence[Save]) -> Text:
    """Say what the saves of a stage have cost its training."""
    stalls = [save.stalled_ms for save in saves]
    waited = sum(save.waited_ms for save in saves) / 1000
    written = sum(save.written_s for save in saves) / len(saves)
    line = (
        f"{len(saves)} checkpoint{'s' if len(saves) > 1 else ''} of {saves[-1].bytes / 2**20:.1f} MiB: "
        f"{sum(stalls) / len(stalls):.1f} ms stall (longest {max(stalls):.1f}), {written:.2f} s write"
    )
    if waited > 0.05:
        line += f"\n{waited:.1f} s in all were spent waiting for the write before"
    return Text(line, style="dim")


def inventory_table(entries: Sequence[Entry]) -> RenderableType:
    """Lay out checkpoints: how far each is, why it stays, what its save cost."""
    if not entries:
        return Text("no checkpoints yet", style="dim")
    table = Listing(ruled=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("Stage", no_wrap=True)
    for heading in ("Step", "Iteration", "Score, %", "MiB", "Stall, ms", "Write, s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Kept as", overflow="fold")
    stage = None
    for entry in entries:
        if stage is not None and entry.stage != stage:
            table.add_section()
        table.add_row(
            "" if entry.stage == stage else entry.stage,
            f"{entry.step:,}",
            DASH if entry.iteration is None else f"{entry.iteration:,}",
            percent(entry.score),
            f"{entry.bytes / 2**20:,.1f}" if entry.bytes else DASH,
            DASH if entry.stalled_ms is None else f"{entry.stalled_ms:.1f}",
            DASH if entry.written_s is None else f"{entry.written_s:.2f}",
            _standing(entry),
        )
        stage = entry.stage
    return table


def verified_table(entries: Sequence[Entry]) -> RenderableType:
    """Lay out what reading every byte has found."""
    damaged = [entry for entry in entries if entry.problem]
    size = sum(entry.bytes for entry in entries) / 2**20
    if not damaged:
        return Text(f"{len(entries)} checkpoints read, {size:,.1f} MiB, nothing wrong", style="green")
    table = Listing("Stage", "Checkpoint", Column("Problem", overflow="fold"), ruled=False, header_style="bold")
    for entry in damaged:
        table.add_row(entry.stage, entry.path.name, Text(str(entry.problem), style="red"))
    return Group(Text(f"{len(damaged)} of {len(entries)} checkpoints are damaged", style="red"), table)


def contents_table(found: Sequence[Contents]) -> RenderableType:
    """Lay out what checkpoints hold and where they come from."""
    parts: list[RenderableType] = []
    for one in found:
        state = one.state
        done = "finished" if state["finished"] else "not finished"
        facts = Table.grid(padding=(0, 2, 0, 0))
        facts.add_column(style="dim")
        facts.add_column(overflow="fold")
        facts.add_row("folder", str(one.path))
        facts.add_row("iteration", f"{state['iteration']:,} (step {state['step']:,}), {done}")
        facts.add_row("fingerprint", one.fingerprint)
        facts.add_row("written by", f"{state['world']} rank{'s' if state['world'] > 1 else ''}, {_versions(state)}")
        for name, record in state["parents"].items():
            facts.add_row("starts from", f"{name}: {record['path']}  {record['fingerprint'][:12]}")
        for name, fingerprint in state["data"].items():
            facts.add_row("trained on", f"{name}: {fingerprint[:12]}")
        table = Listing(ruled=False, header_style="bold")
        table.add_column("Component", no_wrap=True)
        for heading in ("Tensors", "Numbers", "MiB"):
            table.add_column(heading, justify="right")
        table.add_column("Type")
        for part in one.components:
            size = f"{part.bytes / 2**20:,.1f}"
            table.add_row(part.name, f"{part.tensors:,}", f"{part.numbers:,}", size, ", ".join(part.dtypes))
        parts += [Text(one.stage, style="bold"), facts, table, Text()]
    return Group(*parts[:-1]) if parts else Text("no valid checkpoint", style="dim")


def _versions(state: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in state["versions"].items())


def _standing(entry: Entry) -> Text:
    if entry.problem:
        return Text(entry.problem, style="red")
    return Text(", ".join([*entry.kept, *(["finished"] if entry.finished else [])]))
