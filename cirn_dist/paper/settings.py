"""A configuration's settings as a file that says what each is, and beside the paper's statements of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from cirn_dist.config.schema import Config, marked
from cirn_dist.config.section import Section
from cirn_dist.config.yamlfile import to_yaml
from cirn_dist.display.terminal import Listing, value_text
from cirn_dist.paper.statements import Judged

SOURCES = {"paper": "paper", "lineage": "its lineage", "ours": "our choice", "method": "method"}
_WRAP = 120


def described(config: Config) -> str:
    """Return the configuration as YAML, each setting with its description as a comment."""
    return "\n".join(_described(config, config.engine.images_per_step, set(marked("iterations")), "")) + "\n"


def _described(group: Section, per_step: int, counted: set[str], prefix: str) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    values = group.model_dump(mode="json")
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, Section):
            yield f"{indent}{name}:"
            yield from _described(value, per_step, counted, f"{prefix}{name}.")
            continue
        says = field.description or ""
        if f"{prefix}{name}" in counted and value and per_step > 1:
            says += f"; {math.ceil(value / per_step):,} steps of {per_step}"
        line = f"{indent}{name}: {to_yaml(values[name], flow=True)}"
        above = len(line) + len(says) + 4 > _WRAP
        if says and above:
            yield f"{indent}# {says}"
        yield line + (f"  # {says}" if says and not above else "")


def settings_table(settings: Iterable[Judged]) -> Listing:
    """Lay out each setting, its value, what the paper or its lineage says, and whether it departs from that."""
    table = Listing()
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("Source", no_wrap=True)
    table.add_column("What it says", overflow="fold")
    section, counted = "", set(marked("iterations"))
    for one in settings:
        head = one.key.partition(".")[0]
        if section and head != section:
            table.add_section()
        section = head
        sign = "marked: " if one.marked else "DIFFERS: "
        says = one.statement.says + (f"; {sign}{one.differs}" if one.differs else "")
        style = "yellow" if one.differs and not one.marked else None
        value = value_text(one.value) + (" images" if one.key in counted and one.value else "")
        table.add_row(one.key, value, SOURCES[one.statement.source], says, style=style)
    return table
