"""What the report says of the way to the CIR: its quality in figures, pictures while it was trained, alarms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from cirn_dist.errors import DataError
from cirn_dist.report.blocks import NOTHING, cell, picture, section, table
from cirn_dist.report.markup import Markup, join, tag
from cirn_dist.report.panels import data_uri, photo
from cirn_dist.report.table import DASH, percent

QUALITY, ALARMS, PROGRESS = "render/quality.json", "translate/alarms.json", "translate/progress"
_SHOWN = 4


class Change(BaseModel):
    """A figure of the source images, and of the CIR."""

    source: float | None
    cir: float | None


class Quality(BaseModel):
    """How good a CIR is, from the run's own data and its source network alone.

    Attributes:
        cir: fingerprint of the set.
        images: how many of each set were looked at.
        miou: of the frozen source network on the source's labels.
        same_class: share of the pixels it puts in the same class before and after.
        colour: distance of the colour histogram to the target's, 0 to 1.
        features: Fréchet distance of the source network's features to the target's.
        cycle_l1: mean |F(G(x)) - x| in [-1, 1] by domain; None where nothing was trained.
    """

    cir: str
    images: int
    miou: Change
    same_class: float
    colour: Change
    features: Change
    cycle_l1: dict[str, float] | None = None


class Alarm(BaseModel):
    """Something that went wrong while stage 1 was trained."""

    iteration: int
    kind: str
    message: str


_ALARMS = TypeAdapter(list[Alarm])


def read_quality(run: Path) -> Quality | None:
    """Read a run's figures, None where they were not computed."""
    path = run / QUALITY
    try:
        return Quality.model_validate_json(path.read_bytes()) if path.is_file() else None
    except ValidationError as error:
        raise DataError("is not a file of quality figures", where=path, fix="remove it, and start again") from error


def read_alarms(run: Path) -> list[Alarm]:
    """Read a run's alarms, in order."""
    path = run / ALARMS
    try:
        return _ALARMS.validate_json(path.read_bytes()) if path.is_file() else []
    except ValidationError as error:
        raise DataError("is not a file of alarms", where=path, fix="remove it") from error


def alarms_json(alarms: Sequence[Alarm]) -> str:
    """Write alarms as `read_alarms` reads them."""
    return _ALARMS.dump_json(list(alarms), indent=1).decode()


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
