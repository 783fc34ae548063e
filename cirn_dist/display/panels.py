"""The example images of a run: reading their folders, colouring label maps, composing them to pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from cirn_dist.errors import DataError

Palette = Sequence[tuple[int, int, int]]
IGNORED = (0, 0, 0)
_REPORT_WIDTH = 640  # twice the width it is shown at, for dense screens


@dataclass(frozen=True)
class Panel:
    """One target image, its ground truth where there is one, and each stage's prediction and attention maps."""

    name: str
    target: Path
    label: Path | None
    predictions: dict[str, Path]
    gates: dict[str, list[Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """One source image and its CIR, the same scene in the target's appearance."""

    name: str
    source: Path
    cir: Path


def read_panels(run: Path) -> list[Panel]:
    """List the panels of a run folder, by number."""
    panels = []
    for target in _by_number(run.glob("panels/*/target.png")):
        others = {path.stem: path for path in sorted(target.parent.glob("*.png")) if path != target}
        label = others.pop("label", None)
        gates: dict[str, list[Path]] = {}
        for path in sorted(target.parent.glob("gates/*-*.png"), key=lambda path: (len(path.name), path.name)):
            gates.setdefault(path.stem.rpartition("-")[0], []).append(path)
        panels.append(Panel(target.parent.name, target, label, others, gates))
    return panels


def read_pairs(run: Path) -> list[Pair]:
    """List the source and CIR pairs of a run folder, by number."""
    files = _by_number(run.glob("panels/cir-*/cir.png"))
    pairs = [Pair(cir.parent.name, cir.with_name("source.png"), cir) for cir in files]
    return [pair for pair in pairs if pair.source.exists()]


def figure_columns(panel: Panel, stages: Sequence[str]) -> list[tuple[str, Path]]:
    """Give the columns of the paper's Figure 4 that this panel has, with their titles.

    Args:
        panel: the panel.
        stages: the scored stages in pipeline order; the first is without adaptation, the last adapted.
    """
    known = [stage for stage in stages if stage in panel.predictions]
    columns = [("Target image", panel.target)]
    if known and known[0] == stages[0]:
        columns.append(("Without adaptation", panel.predictions[known[0]]))
    if known and known[-1] != stages[0]:
        columns.append(("Adapted", panel.predictions[known[-1]]))
    return columns + ([("Ground truth", panel.label)] if panel.label else [])


def photo(path: Path) -> Image.Image:
    """Read an RGB image.

    Raises:
        DataError: it cannot be read.
    """
    return opened(path).convert("RGB")


def coloured(path: Path, palette: Palette) -> Image.Image:
    """Read a label map of train ids as a palette image; what has no class is black.

    Raises:
        DataError: it cannot be read, or has more than one channel.
    """
    image = opened(path)
    if image.mode not in ("L", "P"):
        raise DataError(f"a label map has one channel, this has mode {image.mode}", where=path)
    ids = Image.frombytes("P", image.size, image.tobytes())
    ids.putpalette([value for colour in (*palette, *[IGNORED] * (256 - len(palette))) for value in colour])
    return ids


def data_uri(image: Image.Image, width: int = _REPORT_WIDTH) -> str:
    """Encode an image for a page: label maps as PNG without loss, photographs as WebP, at most `width` pixels wide."""
    labels = image.mode == "P"
    if image.width > width:
        size = (width, max(1, round(image.height * width / image.width)))
        image = image.resize(size, Image.Resampling.NEAREST if labels else Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if labels:
        image.save(stream, "PNG", optimize=True)
    else:
        image.save(stream, "WEBP", quality=86)
    return f"data:image/{'png' if labels else 'webp'};base64,{base64.b64encode(stream.getvalue()).decode()}"


def compose(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str], width: int = 320) -> Image.Image:
    """Lay images out as a grid on white with a title over each column; every cell is `width` pixels wide."""
    gap, head = 6, 30
    heights = [round(row[0].height * width / row[0].width) for row in rows]
    columns = max(len(row) for row in rows)
    canvas = Image.new("RGB", (columns * (width + gap) + gap, head + sum(heights) + gap * len(heights)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=17)
    for column, title in enumerate(titles):
        draw.text((gap + column * (width + gap) + width / 2, head / 2), title, "#222222", font, anchor="mm")
    top = head
    for row, height in zip(rows, heights, strict=True):
        for column, image in enumerate(row):
            filter_ = Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.LANCZOS
            canvas.paste(image.resize((width, height), filter_).convert("RGB"), (gap + column * (width + gap), top))
        top += height + gap
    return canvas


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Put pictures under one another, on white."""
    canvas = Image.new("RGB", (max(one.width for one in images), sum(one.height for one in images)), "white")
    top = 0
    for one in images:
        canvas.paste(one, (0, top))
        top += one.height
    return canvas


def opened(path: Path) -> Image.Image:
    """Read an image whole, as it is.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError) as error:  # Pillow reports a damaged PNG as a SyntaxError
        raise DataError(f"unreadable image ({error})", where=path, fix="evaluate the run again") from error


def _by_number(files: Iterable[Path]) -> list[Path]:
    """Sort by folder, 2 before 10."""
    return sorted(files, key=lambda path: (len(path.parent.name), path.parent.name))
