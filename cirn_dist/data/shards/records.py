"""From finished shards to a set: what is remembered of each, and index.json over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.shards.class_counts import counts_name
from cirn_dist.data.shards.shardset import INDEX, ShardSet, index_name, space_to_json
from cirn_dist.data.shards.stats import Stats, total
from cirn_dist.errors import DataError
from cirn_dist.files import digest, read_json, write_json
from cirn_dist.formats import SHARDS

Record = dict[str, Any]


def finished(folder: Path, stem: str, token: str = "") -> Record | None:
    """Return a shard's record when it was finished under this token."""
    path, tar = folder / f"{stem}.record.json", folder / f"{stem}.tar"
    if not path.is_file() or not tar.is_file() or not (folder / index_name(tar.name)).is_file():
        return None
    record: Record = read_json(path)
    return record if record["token"] == token and record["bytes"] == tar.stat().st_size else None


def finish(
    folder: Path,
    stems: Sequence[str],
    *,
    name: str,
    label_space: LabelSpace | None,
    made: Mapping[str, Any] | None = None,
    token: str = "",
    notes: Sequence[str] = (),
) -> ShardSet:
    """Write index.json over finished shards, last, and open the set.

    Args:
        folder: where the shards are.
        stems: the shards, in order.
        name: how errors and logs call the set.
        label_space: of the labels; None for images only.
        made: what the set was made with; JSON content, kept in index.json.
        token: the one the shards were written under.
        notes: lines on what was not packed, kept in index.json.

    Raises:
        DataError: a shard is not finished, all are empty, or their fields differ.
    """
    records = []
    for stem in stems:
        record = finished(folder, stem, token)
        if record is None:
            raise DataError("the shard is not finished", where=folder / f"{stem}.tar", fix="write it before finishing")
        records.append(record)
    left_out = [one for record in records for one in record["left_out"]]
    kept = [record for record in records if record["samples"]]
    if not kept:
        first = f": first {left_out[0]['source']}, {left_out[0]['reason']}" if left_out else ""
        raise DataError(f"no samples to write{first}", where=folder)
    fields = kept[0]["fields"]
    for record in kept:
        if record["fields"] != fields:
            raise DataError(f"fields {record['fields']} differ from {fields}", where=folder / record["name"])
    write_index(
        folder,
        kept,
        name=name,
        members={field: field for field in fields},
        label_space=label_space,
        left_out=left_out,
        made=dict(made or {}),
        notes=notes,
    )
    for record in records:
        (folder / record["name"]).with_suffix(".record.json").unlink()
        if not record["samples"]:
            (folder / record["name"]).unlink()
            (folder / index_name(record["name"])).unlink()
            (folder / counts_name(record["name"])).unlink(missing_ok=True)
    return ShardSet.open(folder)


def write_index(
    folder: Path,
    records: Sequence[Record],
    *,
    name: str,
    members: Mapping[str, str],
    label_space: LabelSpace | None,
    left_out: Sequence[Mapping[str, str]],
    made: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> None:
    """Write index.json: the set exists from here on. Its fingerprint is of all but the notes."""
    stats = total(Stats.from_json(record["stats"]) for record in records)
    classes = label_space.num_classes if label_space else 0
    class_pixels = stats.class_pixels or (0,) * 256
    content = {
        "format": SHARDS,
        "name": name,
        "samples": sum(record["samples"] for record in records),
        "fields": list(members),
        "members": dict(members),
        "label_space": space_to_json(label_space),
        "shards": [
            {key: record[key] for key in ("name", "samples", "bytes", "sha256", "idx_sha256")} for record in records
        ],
        "class_pixels": list(class_pixels[:classes]),
        "ignored_pixels": sum(class_pixels[classes:]) if classes else 0,
        "mean": stats.mean,
        "std": stats.std,
        "left_out": list(left_out),
        "made": dict(made),
    }
    write_json(folder / INDEX, {**content, "notes": list(notes), "fingerprint": digest(content)})
