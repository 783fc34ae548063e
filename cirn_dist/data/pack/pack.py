"""Packing a raw dataset into a shard set: parallel, resumable after kill -9, the same bytes every time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, takewhile
from math import ceil
from pathlib import Path
from typing import Any, Literal

from cirn_dist.choices import LabelSize
from cirn_dist.config.section import Size
from cirn_dist.data.decode import CODECS
from cirn_dist.data.pack.encode import Encoder
from cirn_dist.data.pack.raw_files import Found, find
from cirn_dist.data.pack.raw_listing import LISTING, assert_unchanged, listing
from cirn_dist.data.pack.recipes import Recipe, load_recipe
from cirn_dist.data.pack.walk import PLAN
from cirn_dist.data.shards.info import left_out_line
from cirn_dist.data.shards.samples import Entry, LeftOut
from cirn_dist.data.shards.shardset import INDEX, ShardSet, index_name
from cirn_dist.data.shards.writer import finish, finished, write_shard
from cirn_dist.data.workers.pool import ordered_map
from cirn_dist.errors import ConfigError, DataError, nearest
from cirn_dist.files import PARTIAL, digest, read_json, write_json, writing_into

_log = logging.getLogger(__name__)
_LOOK_EVERY = 200  # images between looks at how many are left out
Progress = Callable[[int, int], None]


def pack(
    recipe: str | Path | Recipe,
    raw: str | Path | None,
    out: str | Path,
    split: str = "train",
    *,
    size: Size | Literal["original"] | None = None,
    codec: str | None = None,
    labels: bool | None = None,
    label_size: LabelSize | None = None,
    workers: int = 1,
    shard_mb: float = 128,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ShardSet:
    """Pack one split of a raw dataset into the folder `out`; returns at once when that was already done.

    Args:
        recipe: a name in shards/ or the path of a recipe file.
        raw: the raw dataset's folder; None for rendered images.
        out: the shard set's folder; shards appear there one by one, index.json last.
        split: one of the recipe's.
        size: of the packed images, (width, height) or "original"; None is the recipe's.
        codec: jpeg95, png or webp; None is the recipe's.
        labels: True demands a label per image, False never opens a label file, None takes one per image, or none at
            all where nothing looks like labels.
        label_size: "original" leaves labels at their own size, for scoring; None is the split's.
        workers: processes.
        shard_mb: a tar is closed when it holds this many MiB.
        options: replace recipe values: count, seed, appearance, label_space, list, max_left_out, ...
        progress: called with (items done, items in all).

    Raises:
        ConfigError: unknown recipe, split, codec or option.
        DataError: folder missing or empty; unreadable image; unknown label id; another set in `out`; no space;
            more images left out than the recipe's `max_left_out`.
    """
    out, raw = Path(out), Path(raw) if raw is not None else None
    recipe = load_recipe(recipe, options, split)
    part, codec = recipe.split(split), codec or recipe.codec
    if codec not in CODECS:
        raise ConfigError(f"unknown codec {codec!r}", fix=nearest(codec, CODECS))
    wanted = None if size == "original" else size or recipe.size
    if wanted and min(wanted) < 1:
        raise ConfigError(f"images of {wanted[0]}x{wanted[1]} pixels", where="size", fix="write two numbers above 0")
    label_size = label_size or part.label_size
    made = {
        "recipe": recipe.name,
        "recipe_sha256": recipe.fingerprint,
        "split": split,
        "size": list(wanted) if wanted else None,
        "codec": codec,
        "labels": labels,
        "label_size": label_size,
        "shard_mb": shard_mb,
    } | ({} if recipe.renderer is None else {"renderer": recipe.renderer})
    if (out / INDEX).is_file():
        done = ShardSet.open(out)
        there = done.meta["made"]
        if there.get("renderer") != recipe.renderer:
            _log.warning("%s: rendered by another version of %s; remove it to render it again", out, recipe.name)
        _refuse_other(there, made | {"renderer": there.get("renderer")}, out)
        assert_unchanged(out, recipe, raw, split, labels)
        return done
    found = find(recipe, raw, split, labels)
    for note in found.notes:
        _log.warning("%s %s: %s", recipe.name, split, note)
    space = recipe.space if found.labels else None
    token = _begin(out, made, found)
    encoder = Encoder(recipe, found.form, found.labels, wanted, label_size, codec, bool(part.published))
    try:
        stems = _write(out, split, found, encoder, token, workers, int(shard_mb * 2**20), progress)
    except BaseException:
        _forget_if_empty(out)
        raise
    if raw is not None:
        write_json(out / LISTING, listing(found, raw))
    packed = finish(
        out, stems, name=f"{recipe.name}-{split}", label_space=space, made=made, token=token, notes=found.notes
    )
    (out / PLAN).unlink(missing_ok=True)
    return packed


def _write(
    out: Path,
    split: str,
    found: Found,
    encoder: Encoder,
    token: str,
    workers: int,
    limit: int,
    progress: Progress | None,
) -> list[str]:
    """Write the shards not finished yet: one writer, many encoders, so that the order never depends on them."""
    stems: list[str] = []
    left_out: list[dict[str, str]] = []
    done, total = 0, len(found.items)
    while (record := finished(out, _stem(split, len(stems)), token)) is not None:
        done += record["samples"] + len(record["left_out"])
        left_out += record["left_out"]
        stems.append(_stem(split, len(stems)))
    if progress:
        progress(done, total)
    waiting = (lambda: progress(done, total)) if progress else None  # it may ask to stop
    entries = ordered_map(encoder, found.items[done:], workers, waiting=waiting)
    for first in entries:
        stems.append(_stem(split, len(stems)))

        def counted(start: Entry | LeftOut = first) -> Iterator[Entry | LeftOut]:
            nonlocal done
            size = 0
            for one in chain([start], entries):
                yield one
                done += 1
                if isinstance(one, LeftOut):
                    left_out.append({"source": one.source, "reason": one.reason})
                else:
                    size += one.size
                if done % _LOOK_EVERY == 0 or done == total:
                    _refuse_many(out, left_out, done, total, encoder.recipe.max_left_out)
                if progress:
                    progress(done, total)
                if size >= limit:
                    return

        write_shard(out, stems[-1], counted(), token=token)
    return stems


def _refuse_many(out: Path, left_out: Sequence[Mapping[str, str]], done: int, total: int, most: float) -> None:
    """Refuse a set that lacks too many of its images.

    The shards from the first that lacks one on are forgotten: when labels were put right they come out otherwise.

    Raises:
        DataError: more than the share `most` of all images is left out.
    """
    if len(left_out) <= most * total:
        return
    records = sorted(out.glob("*.record.json"))
    sound = list(takewhile(lambda path: not read_json(path)["left_out"], records))
    for path in records[len(sound) :]:
        tar = path.with_name(path.name.removesuffix(".record.json") + ".tar")
        for file in (path, tar, tar.with_name(index_name(tar.name))):
            file.unlink(missing_ok=True)
    so_far = "" if done == total else f" so far, of {total:,}"
    insist = ceil(100 * len(left_out) / done) / 100
    raise DataError(
        f"{left_out_line(left_out, done)}{so_far}; more than {100 * most:.3g} % may not be",
        where=out,
        fix=f"put the labels right, or insist with the recipe's option max_left_out={insist:.2g}",
    )


def _stem(split: str, number: int) -> str:
    return f"{split.replace('/', '-')}-{number:06d}"


def _begin(out: Path, made: Mapping[str, Any], found: Found) -> str:
    """Claim the folder, or check that an unfinished packing in it is this one; return the shards' token."""
    plan = {"made": dict(made), "items": digest([[item.key, item.source] for item in found.items])}
    token = digest(plan)
    for partial in out.glob(f".*{PARTIAL}"):  # of a packing that was killed
        partial.unlink()
    if (out / PLAN).is_file():
        begun = read_json(out / PLAN)
        _refuse_other(begun["made"], made, out)
        if begun != plan:
            raise DataError(
                "the raw folder changed since packing began", where=out, fix="remove this folder and pack again"
            )
        return token
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("not empty, and no packing was begun there", where=out, fix="choose a new folder")
    with writing_into(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / PLAN, plan)
    return token


def _forget_if_empty(out: Path) -> None:
    """Leave no folder behind when nothing is in it; a tar that lacks its index or record is packing to go on with."""
    if {path.name for path in out.iterdir()} <= {PLAN}:
        (out / PLAN).unlink(missing_ok=True)
        out.rmdir()


def _refuse_other(there: Mapping[str, Any], wanted: Mapping[str, Any], out: Path) -> None:
    differ = [f"{key} {there.get(key)!r}, now {value!r}" for key, value in wanted.items() if there.get(key) != value]
    if differ:
        raise DataError(
            f"packed with other options: {'; '.join(differ)}", where=out, fix="remove that folder or choose another"
        )
