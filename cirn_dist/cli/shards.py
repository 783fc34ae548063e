"""The command line's verbs on shard sets: pack, shards info, verify, index, repair, and bench data."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cirn_dist.cli.options import Json, RecipeOptions, recipe_options, write_result
from cirn_dist.display.terminal import show
from cirn_dist.errors import ConfigError, DataError

shards_app = typer.Typer(help="Look at, check and repair shard sets.", no_args_is_help=True)
bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A shard set's folder.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
_CORES = os.cpu_count() or 1


def pack(
    recipe: Annotated[str, typer.Argument(help="A recipe's path, or the name of one that ships, e.g. gta5.")],
    out: Annotated[Path, typer.Option(help="The shard set's folder; started again, packing continues.")],
    raw: Annotated[Path | None, typer.Option(help="The raw dataset's folder.")] = None,
    split: str = "train",
    size: Annotated[str | None, typer.Option(metavar="WxH|original", help="Default: the recipe's.")] = None,
    codec: Annotated[str | None, typer.Option(help="jpeg95, png or webp; default: the recipe's.")] = None,
    labels: Annotated[
        bool | None,
        typer.Option(help="One per image, or never open one; default: none where nothing looks like labels."),
    ] = None,
    label_size: Annotated[
        Literal["image", "original"] | None,
        typer.Option(metavar="image|original", help="Original for scoring; default: the split's."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Label space: its name, or a recipe that has it; default: the recipe's.")
    ] = None,
    option: RecipeOptions = None,
    workers: Workers = _CORES,
    shard_size: Annotated[float, typer.Option(min=0.001, metavar="MB")] = 128,
    json: Json = None,
) -> None:
    """Pack a raw dataset into a shard set."""
    from cirn_dist.data.pack.pack import pack as pack_set
    from cirn_dist.data.run_sets.label_space import named_space, setting
    from cirn_dist.data.shards.info import info
    from cirn_dist.display.shards import counting, info_table

    options = recipe_options(option or [])
    if space is not None:
        options["label_space"] = setting(named_space(space))
    with counting("packing") as count:
        made = pack_set(
            recipe,
            raw,
            out,
            split,
            size=_size(size),
            codec=codec,
            labels=labels,
            label_size=label_size,
            workers=workers,
            shard_mb=shard_size,
            options=options,
            progress=count,
        )
    show(info_table(info(made.path)))
    write_result(json, info(made.path))


@shards_app.command("info")
def show_info(folder: Folder, json: Json = None) -> None:
    """Describe a shard set: samples, size, label space, class histogram."""
    from cirn_dist.data.shards.info import info
    from cirn_dist.display.shards import info_table

    found = info(folder)
    show(info_table(found))
    write_result(json, found)


@shards_app.command()
def stats(folder: Folder) -> None:
    """Count each sample's pixels of each class, for rare class sampling; only sets packed without it need this."""
    from cirn_dist.data.shards.class_counts import add_counts, class_counts
    from cirn_dist.data.shards.shardset import ShardSet
    from cirn_dist.display.shards import counting

    shards = ShardSet.open(folder)
    with counting("counting") as count:
        add_counts(shards, count)
    occurring = int((class_counts(shards).sum(axis=0) > 0).sum())
    print(f"{len(shards):,} samples counted, {occurring} classes occur")


@shards_app.command()
def verify(folder: Folder, workers: Workers = _CORES, json: Json = None) -> None:
    """Read every byte again and name every bad sample; exit code 1 if there is one."""
    from cirn_dist.data.shards.verify import verify as verify_set
    from cirn_dist.display.shards import bad_table, counting

    with counting("verifying") as count:
        found = verify_set(folder, workers=workers, progress=count)
    show(bad_table(found))
    write_result(json, found)
    if not found.ok:
        raise DataError(
            f"{len(found.bad)} things are wrong", where=folder, fix="cirn-dist shards repair leaves them out"
        )


@shards_app.command()
def index(
    folder: Folder,
    image: Annotated[str | None, typer.Option(help="Field of the images, e.g. jpg; default: the only one.")] = None,
    label: Annotated[str | None, typer.Option(help="Field of the label PNGs (train ids), e.g. seg.png.")] = None,
    space: Annotated[str | None, typer.Option(help="Label space, e.g. cityscapes19; needed with --label.")] = None,
    workers: Workers = _CORES,
    json: Json = None,
) -> None:
    """Add an index to WebDataset tars made by others; the tars are only read."""
    from cirn_dist.data.run_sets.label_space import named_space
    from cirn_dist.data.shards.foreign import index_foreign
    from cirn_dist.data.shards.info import info
    from cirn_dist.display.shards import counting, info_table

    with counting("indexing") as count:
        index_foreign(
            folder,
            image=image,
            label=label,
            space=None if space is None else named_space(space),
            workers=workers,
            progress=count,
        )
    show(info_table(info(folder)))
    write_result(json, info(folder))


@shards_app.command()
def repair(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The new set's folder.")],
    workers: Workers = _CORES,
    json: Json = None,
) -> None:
    """Rewrite a set without its bad samples, and say what was left out."""
    from cirn_dist.data.shards.repair import repair as repair_set
    from cirn_dist.display.shards import bad_lines, counting

    with counting("repairing") as count:
        made = repair_set(folder, out, workers=workers, progress=count)
    show(f"{len(made.shards):,} samples in {made.shards.path}, {len(made.left_out):,} left out")
    if made.left_out:
        show(bad_lines(made.left_out))
    left_out = [dataclasses.asdict(one) for one in made.left_out]
    write_result(json, {"path": str(made.shards.path), "samples": len(made.shards), "left_out": left_out})


@bench_app.command("data")
def bench_data(
    folder: Folder,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each measurement runs.")] = 3.0,
    json: Json = None,
) -> None:
    """Measure decoding, augmenting and the first sample's latency, beside webdataset's own iterator."""
    from cirn_dist.display.shards import counting
    from cirn_dist.measure.reading import bench_data as measure
    from cirn_dist.measure.tables import bench_table

    with counting("measuring") as count:
        found = measure(folder, seconds=seconds, workers=sorted({1, _CORES}), progress=count)
    show(bench_table(found))
    write_result(json, found)


def _size(text: str | None) -> Any:
    if text in (None, "original"):
        return text
    width, _, height = str(text).lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError("not a size", where=f"--size {text}", fix="write WIDTHxHEIGHT or original")
    return int(width), int(height)
