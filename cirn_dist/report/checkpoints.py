"""What is shown of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from cirn_dist.checkpoint.saves import Save


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
