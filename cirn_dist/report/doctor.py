"""What is found out about a machine and about a configuration's memory, and how it looks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cirn_dist.report.terminal import Listing


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        advice: what to do about it; empty where nothing is wrong.
        broken: whether no run can succeed before it is mended.
    """

    what: str
    found: str
    advice: str = ""
    broken: bool = False


@dataclass(frozen=True)
class Footprint:
    """The memory of one stage on one rank, in bytes.

    Attributes:
        images: the largest that one forward pass sees.
        parameters: of all networks involved, frozen ones too.
        total: the peak of a step.
        measured: on this machine's GPU; counted, unless so.
    """

    stage: str
    images: str
    parameters: int
    gradients: int
    optimizer: int
    total: int
    measured: bool

    @property
    def activations(self) -> int:
        """What remains of the peak: activations, and what is computed between."""
        return max(0, self.total - self.parameters - self.gradients - self.optimizer)


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
