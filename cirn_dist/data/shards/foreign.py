"""Indexing WebDataset tars that others wrote, where they are and as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cirn_dist.data.decode import open_image
from cirn_dist.data.label_files import open_label
from cirn_dist.data.labels import IGNORE, LabelSpace, UInt8Array, label_space
from cirn_dist.data.shards.records import Record, write_index
from cirn_dist.data.shards.shardset import INDEX, LABEL, ShardSet, index_name, space_from_json
from cirn_dist.data.shards.sizes import misfit
from cirn_dist.data.shards.stats import Stats, measure, total
from cirn_dist.data.shards.tars import index_tar, key_at
from cirn_dist.data.workers.pool import ordered_map
from cirn_dist.errors import ConfigError, CorruptSample, DataError
from cirn_dist.files import atomic, file_sha256, read_json

Progress = Callable[[int, int], None]
_CANONICAL = {"jpg": "image.jpg", "jpeg": "image.jpg", "png": "image.png", "webp": "image.webp"}
_MOST_UNUSABLE = 0.1  # as many as packing leaves out
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def index_foreign(
    folder: str | Path,
    *,
    image: str | None = None,
    label: str | None = None,
    space: str | LabelSpace | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> ShardSet:
    """Write an index beside every tar of a folder, and index.json; the tars are only read.

    Args:
        folder: holds the tars, all with the same fields.
        image: the field of the images, e.g. jpg; None finds the only one that can be.
        label: the field of the label PNGs, e.g. seg.png; None has no labels. Values are train ids, 255 ignored.
        space: the labels' space; needed with labels.
        workers: processes, one tar each.
        progress: called with (tars done, tars in all).

    Raises:
        ConfigError: no such field, or more than one that may hold the images; labels without a space.
        DataError: no tars; compressed, truncated or unsafe tars; keys twice; fields missing; unknown train ids; more
            than a tenth of the samples cannot be decoded, or have a label of another size.
    """
    folder = Path(folder)
    tars = _tars(folder)
    roles = _roles(folder, tars[0], image, label, space)
    tasks = [_Task(tar, roles) for tar in tars]
    records: list[Record] = []
    for done, record in enumerate(ordered_map(_index, tasks, workers), start=1):
        records.append(record)
        if progress:
            progress(done, len(tars))
    unusable = _told(folder, records)
    members = {canonical: field for field, canonical in roles.fields.items()}
    write_index(
        folder,
        records,
        name=folder.resolve().name,
        members=members,
        label_space=roles.space,
        left_out=[],
        made={"indexed": True, "unreadable": sum(len(record["unreadable"]) for record in records)},
        notes=unusable,
    )
    return ShardSet.open(folder)


@dataclass(frozen=True)
class _Roles:
    """What the tars' fields are to us: {their field: ours}, in our order."""

    fields: dict[str, str]
    space: LabelSpace | None


@dataclass(frozen=True)
class _Task:
    tar: Path
    roles: _Roles


def _tars(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError("no such folder", where=folder)
    compressed = [path for path in sorted(folder.iterdir()) if path.name.endswith(_COMPRESSED)]
    if compressed:
        raise DataError(
            "a compressed tar: its samples cannot be read alone", where=compressed[0], fix="decompress the tars"
        )
    tars = sorted(folder.glob("*.tar"))
    if not tars:
        raise DataError("no tars there", where=folder)
    return tars


def _roles(folder: Path, tar: Path, image: str | None, label: str | None, space: str | LabelSpace | None) -> _Roles:
    fields = index_tar(tar)[0]
    if (folder / INDEX).is_file() and image is None and label is None:
        known = read_json(folder / INDEX)  # indexed before: the fields keep their roles
        return _Roles({field: ours for ours, field in known["members"].items()}, space_from_json(known["label_space"]))
    for field in (image, label):
        if field is not None and field not in fields:
            raise ConfigError(f"no field {field!r}", where=tar, fix=f"one of: {', '.join(fields)}")
    if image is None:
        candidates = [field for field in fields if field.rpartition(".")[2].lower() in _CANONICAL and field != label]
        if len(candidates) != 1:
            found = ", ".join(candidates) or "none"
            raise ConfigError(f"cannot tell the image field (candidates: {found})", where=tar, fix="name it")
        image = candidates[0]
    canonical = _CANONICAL.get(image.rpartition(".")[2].lower())
    if canonical is None:
        raise ConfigError(f"field {image!r} is no image", where=tar, fix="jpg, png or webp")
    if label is not None and space is None:
        raise ConfigError("labels need a label space", where=tar, fix="name it or a recipe, e.g. cityscapes19")
    roles = {image: canonical}
    if label is not None:
        roles[label] = LABEL
    if "json" in fields:
        roles["json"] = "json"
    chosen = label_space(space) if isinstance(space, str) else space
    return _Roles(dict(sorted(roles.items(), key=lambda role: role[1])), chosen if label is not None else None)


def _index(task: _Task) -> Record:
    fields, places = index_tar(task.tar)
    absent = [field for field in task.roles.fields if field not in fields]
    if absent:
        raise DataError(f"missing fields: {', '.join(absent)}", where=task.tar)
    places = np.ascontiguousarray(places[:, [fields.index(field) for field in task.roles.fields]])
    index_path = task.tar.with_name(index_name(task.tar.name))
    with atomic(index_path) as file:
        np.save(file, places, allow_pickle=False)
    stats = list(_measured(task, places))
    whole = [one for one in stats if isinstance(one, Stats)]
    bad = {i: one for i, one in enumerate(stats) if isinstance(one, str)}
    return {
        "name": task.tar.name,
        "samples": len(places),
        "bytes": task.tar.stat().st_size,
        "sha256": file_sha256(task.tar),
        "idx_sha256": file_sha256(index_path),
        "stats": total(whole).to_json(),
        "unreadable": [f"{task.tar.name} [{_key(task.tar, places[i])}] {reason}" for i, reason in bad.items()],
    }


def _measured(task: _Task, places: npt.NDArray[np.uint64]) -> Iterator[Stats | str]:
    """Count each sample's pixels; the reason where it cannot be used, which training will name, count and replace."""
    columns = list(task.roles.fields.values())
    image = next(place for place, field in enumerate(columns) if field.startswith("image."))
    label = columns.index(LABEL) if LABEL in columns else None
    with task.tar.open("rb") as file:

        def read(row: npt.NDArray[np.uint64]) -> bytes:
            file.seek(int(row[0]))
            return file.read(int(row[1]))

        for sample in places:
            try:
                ids = open_label(read(sample[label])) if label is not None else None
                pixels = np.asarray(open_image(read(sample[image])))
            except CorruptSample as error:
                yield error.what
                continue
            if ids is not None:
                _refuse_unknown(task, ids, sample)
            found = "" if ids is None else misfit(pixels.shape, ids.shape)
            yield found or measure(pixels, ids)


def _told(folder: Path, records: list[Record]) -> list[str]:
    """Return a line on the samples that cannot be used; none where all can.

    Raises:
        DataError: they are more than a tenth: not single samples are wrong, but the set or what was said of it.
    """
    bad = [one for record in records for one in record["unreadable"]]
    if not bad:
        return []
    total = sum(record["samples"] for record in records)
    told = f"{len(bad):,} of {total:,} samples cannot be used, first {bad[0]}"
    if len(bad) > _MOST_UNUSABLE * total:
        raise DataError(told, where=folder, fix="write the tars anew, or name other fields")
    return [f"{told}; training replaces them, rendering and scoring stop at them: repair leaves them out"]


def _key(tar: Path, sample: npt.NDArray[np.uint64]) -> str:
    return key_at(tar, int(sample[:, 0].min()), 0)


def _refuse_unknown(task: _Task, ids: UInt8Array, sample: npt.NDArray[np.uint64]) -> None:
    """Refuse the whole set: a wrong label space is in every sample, and no loss may see such an id."""
    space = task.roles.space
    values: Any = np.unique(ids)
    unknown = values[(values >= (space.num_classes if space else IGNORE)) & (values != IGNORE)]
    if unknown.size:
        raise DataError(
            f"train id {int(unknown[0])} is not in {space.name if space else 'the label space'}",
            where=f"{task.tar} [{_key(task.tar, sample)}]",
            fix="name the right label space, or write train ids",
        )
