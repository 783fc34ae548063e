"""STAGE/scores.json: what a trained stage scored, on which checkpoint and settings; and its worst images beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cirn_dist.errors import DataError
from cirn_dist.files import replace_text
from cirn_dist.rundir.results import Best, Scores

FILE_NAME = "scores.json"
WORST = "worst"  # folder of a stage's worst predictions, one of images per place in the set


class StageScores(BaseModel):
    """A trained stage's scores.

    Attributes:
        checkpoint: fingerprint of what was scored.
        made: the settings and sets it was scored with; None is not recorded.
        teacher: of an online self-training's teacher; None where there is none.
        confusion: pixels by (true class, predicted class); None is not recorded, or there are no labels.
        accuracy: pixel accuracy by the image's place in the scored set; of an image without labelled pixels None.
    """

    checkpoint: str
    made: dict[str, Any] | None = None
    iterations: int
    plain: Scores
    adabn: Scores | None = None
    teacher: Scores | None = None
    best: Best | None = None
    confusion: list[list[int]] | None = None
    accuracy: dict[int, float | None] = {}


@dataclass(frozen=True)
class Worst:
    """One of the images a stage predicts worst: its pictures, and the share of its pixels that is right."""

    place: int
    accuracy: float
    target: Path
    label: Path
    prediction: Path


def read_scores(stage: Path) -> StageScores | None:
    """Read a stage folder's scores; None where it was not scored.

    Raises:
        DataError: the file is damaged.
    """
    file = stage / FILE_NAME
    try:
        return StageScores.model_validate_json(file.read_bytes()) if file.is_file() else None
    except ValidationError as error:
        raise DataError(f"not a file of scores ({error.errors()[0]['msg']})", where=file, fix="remove it") from error


def write_scores(stage: Path, scores: StageScores) -> None:
    """Write a stage folder's scores in one piece."""
    replace_text(stage / FILE_NAME, scores.model_dump_json(indent=1))


def lowest(accuracy: dict[int, float | None], count: int) -> list[int]:
    """Return the places of the images with the lowest accuracy, the lowest first."""
    known = [(value, place) for place, value in accuracy.items() if value is not None]
    return [place for _, place in sorted(known)[:count]]


def read_worst(stage: Path) -> list[Worst]:
    """List a stage's worst images, the worst first."""
    found = read_scores(stage)
    known = {} if found is None else found.accuracy
    worst = []
    for place in lowest(known, len(known)):
        folder = stage / WORST / f"{place:06d}"
        files = [folder / f"{name}.png" for name in ("target", "label", "prediction")]
        accuracy = known[place]
        if accuracy is not None and all(file.is_file() for file in files):
            worst.append(Worst(place, accuracy, *files))
    return worst
