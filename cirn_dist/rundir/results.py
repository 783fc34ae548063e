"""results.json: the scores of every stage of a run, typed, checked on reading, replaced in one piece on writing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from cirn_dist.errors import DataError
from cirn_dist.files import replace_text

FILE_NAME = "results.json"
CURVE_NAME = "validation.json"


def _defined(value: Any) -> Any:
    """Turn NaN, how arrays say "no such score", into None, how JSON says it."""
    return None if isinstance(value, float) and math.isnan(value) else value


Fraction = Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_defined)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scores(_Record):
    """Mean and per-class intersection over union, fractions in [0, 1]; None where the target has no labels.

    `subsets` are means over some of the classes, as published tables have them.
    """

    miou: Fraction = None
    iou: tuple[Fraction, ...] = ()
    subsets: dict[str, Fraction] = Field(default_factory=dict)


class Best(Scores):
    """The best of several scores in the course of a stage: chosen by target labels, so not unsupervised."""

    iteration: NonNegativeInt
    of: NonNegativeInt


class Curve(_Record):
    """A stage's scores while it trained, by iteration."""

    points: dict[int, Scores] = Field(default_factory=dict)


class Control(Scores):
    """The same network trained as long as a stage, without that stage's idea."""

    title: str
    adabn: Scores | None = None


class Row(Scores):
    """One stage's scores, beside its two baselines: re-estimated BatchNorm statistics and the control.

    `teacher` is the score of an online self-training's teacher.
    """

    stage: str
    title: str
    adabn: Scores | None = None
    teacher: Scores | None = None
    control: Control | None = None
    best: Best | None = None
    iterations: NonNegativeInt = 0
    seconds: NonNegativeFloat = 0.0


class Results(_Record):
    """The scores of one run, a row per scored stage in pipeline order.

    `images` is how many labelled target images were scored; None of runs that did not record it.
    """

    name: str
    seed: int
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    rows: tuple[Row, ...] = ()
    images: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _one_score_per_class(self) -> Results:
        if len(self.palette) != len(self.classes):
            raise ValueError(f"{len(self.palette)} palette colours for {len(self.classes)} classes")
        for row in self.rows:
            for scores in (row, row.adabn, row.teacher, row.control, row.control and row.control.adabn):
                if scores and len(scores.iou) not in (0, len(self.classes)):
                    raise ValueError(f"stage {row.stage} has {len(scores.iou)} IoUs for {len(self.classes)} classes")
        return self


def read_results(path: Path) -> Results:
    """Read results.json, given the file or its run folder.

    Raises:
        DataError: the file is missing, unreadable or not of this form.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        return Results.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DataError(f"no results here ({error.strerror})", where=file, fix="give the folder of a run") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"not a results file ({place + ': ' if place else ''}{first['msg']})"
        raise DataError(what, where=file, fix="evaluate the run again") from error


def read_curve(stage: Path) -> Curve:
    """Read a stage folder's scores by iteration, none where it was not scored while it trained.

    Raises:
        DataError: the file is damaged.
    """
    file = stage / CURVE_NAME
    try:
        return Curve.model_validate_json(file.read_bytes()) if file.is_file() else Curve()
    except ValidationError as error:
        raise DataError(f"not a file of scores ({error.errors()[0]['msg']})", where=file, fix="remove it") from error


def write_results(path: Path, results: Results) -> Path:
    """Write results.json, given the file or its run folder; a reader sees the old or the new file, never a part."""
    file = path / FILE_NAME if path.is_dir() else path
    replace_text(file, results.model_dump_json(indent=2) + "\n")
    return file
