"""sets.json: the shard sets a run reads, how many images each has, and what was told of them when they were opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cirn_dist.errors import DataError
from cirn_dist.files import replace_text

FILE_NAME = "sets.json"


class SetFacts(BaseModel):
    """A shard set of a run.

    Attributes:
        role: source, target or scored.
        name: as messages call it, e.g. "gta5 train".
        classes: name of its label space; None of images alone.
        fingerprint: of the set.
        told: lines on what it lacks: images left out, files passed over, classes without a pixel.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: str
    name: str
    images: int
    classes: str | None
    fingerprint: str
    told: tuple[str, ...] = ()


_SETS = TypeAdapter(list[SetFacts])


def write_sets(run: Path, sets: Sequence[SetFacts]) -> None:
    """Replace the file of a run folder, unless it says the same already."""
    text = _SETS.dump_json(list(sets), indent=1).decode() + "\n"
    file = run / FILE_NAME
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        replace_text(file, text)


def read_sets(run: Path) -> list[SetFacts]:
    """Read the file of a run folder; empty where an older version wrote none.

    Raises:
        DataError: it is damaged.
    """
    file = run / FILE_NAME
    try:
        return _SETS.validate_json(file.read_bytes()) if file.is_file() else []
    except ValidationError as error:
        raise DataError("is not a list of shard sets", where=file, fix="remove it, and start the run again") from error
