"""What the report says of the way to the CIR: its quality in figures, pictures while it was trained, alarms."""

from __future__ import annotations

from pathlib import Path

from cirn_dist.display.panels import data_uri, photo
from cirn_dist.display.tables import DASH, percent
from cirn_dist.report.blocks import NOTHING, cell, picture, section, table
from cirn_dist.report.html_tags import Markup, join, tag
from cirn_dist.rundir.translation import PROGRESS, Change, Quality, read_alarms, read_quality

_SHOWN = 4


def translation(run: Path) -> Markup:
    """Show how stage 1 came to the CIR; empty where the run has none of its files."""
    quality, alarms, pictures = read_quality(run), read_alarms(run), _pictures(run)
    if quality is None and not alarms and not pictures:
        return NOTHING
    parts = [tag("p", tag("b", f"Iteration {one.iteration:,}: "), one.message, class_="alarm") for one in alarms]
    text = "How far the source images came on their way to the target."
    if quality is not None:
        parts.append(_figures(quality))
        text += (
            f" From {quality.images:,} images of each set: what the source network still recognises, and how far its "
            "features and the colours are from the target's (0 is the target)."
        )
    if pictures:
        shown = (picture(title, data_uri(photo(path))) for title, path in pictures)
        parts.append(join(tag("h3", "While it was trained"), tag("div", *shown, class_="pictures of2")))
    return section("Translation", text, *parts)


def _figures(quality: Quality) -> Markup:
    rows = [
        ("mIoU of the source network on the source's labels, %", *_percents(quality.miou)),
        ("Pixels it puts in the same class as before, %", DASH, percent(quality.same_class)),
        ("Colour histogram, distance to the target", *_numbers(quality.colour, ".3f")),
        ("Features, Fréchet distance to the target", *_numbers(quality.features, ".4g")),
    ]
    if quality.cycle_l1 is not None:
        there, back = (f"{127.5 * quality.cycle_l1[domain]:.1f}" for domain in ("source", "target"))
        rows.append(("There and back, mean difference in grey levels (source, target)", there, back))
    body = [tag("tr", tag("th", name, scope="row"), cell(one), cell(other)) for name, one, other in rows]
    return table(("", "Source images", "CIR"), body)


def _percents(change: Change) -> tuple[str, str]:
    return percent(change.source), percent(change.cir)


def _numbers(change: Change, form: str) -> tuple[str, str]:
    one, other = (DASH if value is None else format(value, form) for value in (change.source, change.cir))
    return one, other


def _pictures(run: Path) -> list[tuple[str, Path]]:
    """Return the first and the last picture of the training and some between, with their titles."""
    files = sorted((run / PROGRESS).glob("*.png"))
    places = sorted({round(i * (len(files) - 1) / (_SHOWN - 1)) for i in range(_SHOWN)}) if files else []
    return [(f"Iteration {int(files[place].stem):,}", files[place]) for place in places]
