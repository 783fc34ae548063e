"""What stage 1 writes beside its checkpoints: quality figures of the CIR, alarms, pictures from its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from cirn_dist.errors import DataError

QUALITY, ALARMS, PROGRESS = "render/quality.json", "translate/alarms.json", "translate/progress"


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
