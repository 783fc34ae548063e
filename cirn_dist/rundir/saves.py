"""saves.jsonl: every checkpoint that was reported as saved, what it delayed and how long its write took."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cirn_dist.files import writing_into

FILE_NAME = "saves.jsonl"


class Save(BaseModel):
    """One save: how long training waited for the write before it and for the copy, and the seconds of the write."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    iteration: int
    waited_ms: float
    stalled_ms: float
    written_s: float
    bytes: int


def append_save(stage_folder: Path, save: Save) -> None:
    """Add a line, once the checkpoint it speaks of is in its place.

    Raises:
        DataError: no space left.
    """
    with writing_into(stage_folder), (stage_folder / FILE_NAME).open("a", encoding="utf-8") as file:
        file.write(save.model_dump_json() + "\n")


def read_saves(stage_folder: Path) -> list[Save]:
    """Return the saves of a stage in order, of all starts; a line cut off by a kill is passed over."""
    path = stage_folder / FILE_NAME
    saves = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            saves.append(Save.model_validate_json(line))
        except ValidationError:
            continue
    return saves
