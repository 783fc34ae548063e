"""The command line's verb that shows a set's images and labels before anything is trained on them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cirn_dist.cli.options import Json, RecipeOptions, recipe_options, write_result
from cirn_dist.errors import ConfigError, one_line


def look(
    data: Annotated[
        Path | None, typer.Argument(help="A packed set, a folder with one per split, or a raw folder.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Of a raw folder: a file, or the name of one that ships.")] = None,
    split: Annotated[str | None, typer.Option(help="Default: train, or the only set.")] = None,
    option: RecipeOptions = None,
    count: Annotated[int, typer.Option(min=1, help="Images to look at, evenly spread over the set.")] = 24,
    out: Annotated[Path, typer.Option(help="The page; replaced if it is there.")] = Path("look.html"),
    json: Json = None,
) -> None:
    """Show images with their labels drawn over, class frequencies and odd samples; exit 1 if one has a fault."""
    from cirn_dist.data.look import look as look_at
    from cirn_dist.display.shards import counting
    from cirn_dist.report.contact_sheet import summary, write_sheet

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ConfigError(
            "is no file that could be written", where=out, fix="give --out NAME.html in a folder there is"
        )
    if data is None and recipe is None:
        raise ConfigError("nothing to look at", fix="give a packed set, or a raw folder with --recipe")
    options = recipe_options(option or [])
    with counting("looking") as progress:
        found = look_at(data, count, recipe=recipe, split=split, options=options, progress=progress)
    for source, reason in found.faults.items():
        print(one_line(f"cirn-dist: {source}: {reason}"), file=sys.stderr)
    for note in found.notes:
        print(one_line(note))
    print(summary(found))
    print(write_sheet(found, out))
    facts = {"name": found.name, "total": found.total, "looked_at": len(found.seen), "sizes": dict(found.sizes)}
    space = None if found.space is None else found.space.name
    write_result(
        json, facts | {"label_space": space, "pixels": found.pixels, "images": found.images, "faults": found.faults}
    )
    if found.faults:
        raise typer.Exit(1)
