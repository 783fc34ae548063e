"""The report's section on how a run was made: each stage's starts and settings, and what was changed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cirn_dist.display.tables import DASH
from cirn_dist.display.terminal import duration, value_text
from cirn_dist.report.blocks import NOTHING, cell, section, table
from cirn_dist.report.html_tags import Markup, join, tag
from cirn_dist.rundir.made import Made, Start
from cirn_dist.rundir.overrides import Override


def how_made(made: Mapping[str, Made | None], changes: Sequence[Override], titles: Mapping[str, str]) -> Markup:
    """Show what each stage was made with when it was made.

    Args:
        made: stage -> its record, in order; None where it is there and was not recorded.
        titles: of stages.
    """
    if not made:
        return NOTHING
    known = {stage: record for stage, record in made.items() if record is not None}
    text = (
        "As it was recorded while each stage was made; a later start does not change it. A time is that of all starts "
        "that worked on a stage, scoring included; of a killed start, until its last checkpoint."
    )
    heads = ("Stage", "Done", "Time", "Starts", "Began, UTC", "On", "Code")
    body = [_row(titles.get(stage, stage), record) for stage, record in made.items()]
    return section(
        "How this was made", text, *_changed(changes, titles), table(heads, body, "record"), *_folded(known, titles)
    )


def _row(title: str, made: Made | None) -> Markup:
    if made is None or not made.starts:
        return tag("tr", tag("th", title, scope="row"), tag("td", "not recorded", colspan="6"))
    notes = [f"recorded from iteration {made.since:,} on"] if made.since else []
    notes += [f"taken from {made.taken}, which made the same"] if made.taken is not None else []
    notes += [
        f"{one.key} {value_text(one.was)} → {value_text(one.now)} from iteration {one.at:,} on"
        for one in made.effective
    ]
    starts = made.starts
    return tag(
        "tr",
        tag("th", title, *(tag("small", note) for note in notes), scope="row"),
        cell(f"{starts[-1].last:,}"),
        cell(duration(made.seconds)),
        cell(str(len(starts))),
        cell(_minute(starts[0].began)),
        tag("td", *_lines(_machine(start) for start in starts)),
        tag("td", *_lines(start.by.commit or start.by.version for start in starts)),
    )


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _machine(start: Start) -> str:
    by = start.by
    ranks = f"{by.ranks} ranks, " if by.ranks > 1 else ""
    return f"{ranks}{by.device}, {by.precision}" + (f", {by.backend}" if by.backend != "ddp" else "")


def _lines(values: Any) -> list[Markup]:
    return [tag("div", value) for value in dict.fromkeys(values)]


def _changed(changes: Sequence[Override], titles: Mapping[str, str]) -> list[Markup]:
    """Show what was insisted on with --allow."""
    if not changes:
        return []
    rows = []
    for one in changes:
        change = one.change
        values = (cell(_short(change.was)), cell(_short(change.now)))
        rows.append(
            tag(
                "tr",
                tag("th", change.key, scope="row"),
                *values,
                cell(_minute(change.time)),
                tag("td", one.where(titles)),
            )
        )
    number = f"{len(changes)} setting{'s were' if len(changes) > 1 else ' was'}"
    return [
        tag("p", f"{number} changed in the course of the run, so the configuration is not that of every stage.",
            class_="warning"),
        table(("Changed", "Was", "Is", "When, UTC", "Where"), rows, "record"),
    ]  # fmt: skip


def _folded(made: Mapping[str, Made], titles: Mapping[str, str]) -> list[Markup]:
    """Show, folded, every stage's settings and every start's command."""
    known = {stage: record.settings for stage, record in made.items() if record.settings}
    values: dict[str, list[Any]] = {}
    for settings in known.values():
        for key, value in settings.items():
            values.setdefault(key, []).append(value)
    shared = {key for key, found in values.items() if len(found) > 1 and all(value == found[0] for value in found)}
    parts = [join(tag("h3", "The same in every stage that depends on it"), _facts({k: values[k][0] for k in shared}))]
    for stage, settings in known.items():
        own = {key: value for key, value in settings.items() if key not in shared}
        if own:
            parts.append(join(tag("h3", titles.get(stage, stage)), _facts(own)))
    folded = [tag("details", tag("summary", "Settings of each stage"), *parts)] if known else []
    return folded + _commands(made, titles)


def _facts(settings: Mapping[str, Any]) -> Markup:
    entries = (tag("div", tag("dt", key), tag("dd", value_text(settings[key]) or DASH)) for key in sorted(settings))
    return tag("dl", *entries, class_="facts")


def _commands(made: Mapping[str, Made], titles: Mapping[str, str]) -> list[Markup]:
    """Show every command in the order in which they were given, with the stages it worked on."""
    given: dict[str, list[tuple[str, Start]]] = {}
    for stage, record in made.items():
        for start in record.starts:
            given.setdefault(start.by.command, []).append((stage, start))
    entries = []
    for command, works in sorted(given.items(), key=lambda one: one[1][0][1].began):
        stages = list(dict.fromkeys(titles.get(stage, stage) for stage, _ in works))
        entries.append(join(tag("pre", command), tag("p", f"worked on {', '.join(stages)}", class_="note")))
    return [tag("details", tag("summary", "Commands"), *entries)] if entries else []


def _short(value: Any) -> str:
    """Write a value; of a fingerprint its first digits."""
    text = value_text(value)
    return text[:12] if len(text) == 64 else text
