"""Writing shard sets: one tar at a time, each whole or absent; the set exists when its index.json does.

Several processes may write different shards of one folder; one of them calls `finish`. A shard that is
already there with the same token is kept, so a killed job goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import webdataset

from cirn_dist.data.shards.class_counts import write_counts
from cirn_dist.data.shards.records import Record, finish, finished
from cirn_dist.data.shards.samples import Entry, LeftOut, entry
from cirn_dist.data.shards.shardset import INDEX, Sample, index_name
from cirn_dist.data.shards.stats import Stats, total
from cirn_dist.data.shards.tars import index_tar
from cirn_dist.files import atomic, file_sha256, write_json, writing_into


def write_shard(
    folder: Path, stem: str, samples: Iterable[tuple[str, Sample] | Entry | LeftOut], *, token: str = ""
) -> Record:
    """Write `stem`.tar with its index and record, or return the record of the one already finished.

    Args:
        folder: the shard set's folder; made if missing.
        stem: the tar's name without its suffix.
        samples: consumed only when the shard is not finished yet; the same samples give the same bytes.
        token: what the content depends on; a shard finished under another token is written again.

    Raises:
        DataError: samples with different fields, a key twice, no space, read-only file system.
    """
    known = finished(folder, stem, token)
    if known is not None:
        return known
    tar, record_path = folder / f"{stem}.tar", folder / f"{stem}.record.json"
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)  # of an older set: from here on it is not complete,
        record_path.unlink(missing_ok=True)  # and neither is the shard of another token
    parts: list[Stats] = []
    left_out: list[dict[str, str]] = []
    with atomic(tar) as file:
        with webdataset.TarWriter(file, encoder=False, compress=False, mtime=0) as writer:
            for item in samples:
                if isinstance(item, LeftOut):
                    left_out.append({"source": item.source, "reason": item.reason})
                    continue
                item = item if isinstance(item, Entry) else entry(*item)
                writer.write({"__key__": item.key, **item.sample})
                parts.append(item.stats)
        file.flush()
        written = Path(file.name)
        fields, places = index_tar(written)
        size, sha256 = written.stat().st_size, file_sha256(written)
    with atomic(folder / index_name(tar.name)) as file:
        np.save(file, places, allow_pickle=False)
    if any(part.class_pixels for part in parts):
        write_counts(folder, tar.name, [part.class_pixels or (0,) * 256 for part in parts])
    record: Record = {
        "name": tar.name,
        "samples": len(places),
        "bytes": size,
        "sha256": sha256,
        "idx_sha256": file_sha256(folder / index_name(tar.name)),
        "fields": fields,
        "left_out": left_out,
        "stats": total(parts).to_json(),
        "token": token,
    }
    write_json(record_path, record)
    return record


__all__ = ["finish", "finished", "write_shard"]
