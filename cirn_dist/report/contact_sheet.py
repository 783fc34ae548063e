"""The page of `cirn-dist look`: images with their labels drawn over, and how often each class is there."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cirn_dist.data.look import Look, Seen
from cirn_dist.display.panels import IGNORED, data_uri
from cirn_dist.files import replace_text
from cirn_dist.report.blocks import NOTHING, cell, section, table
from cirn_dist.report.figures import meter, swatch
from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.report.page import page

_WIDTH = 400  # pixels of an image on the page


def write_sheet(found: Look, file: Path) -> Path:
    """Write the page of a look at a set; returns the file."""
    body = [_faults(found), _classes(found), _odd(found), _sheet(found)]
    replace_text(file, page(found.name, _header(found), body))
    return file


def summary(found: Look) -> str:
    """Say in a line or two what was seen."""
    sizes = ", ".join(f"{size} ({count:,})" for size, count in found.sizes.most_common(4))
    text = f"{len(found.seen):,} of {found.total:,} images looked at: {sizes or 'none could be read'}"
    if found.space is None:
        return f"{text}; no labels"
    missing = [name for name, count in found.images.items() if not count and name != "ignored"]
    seen = found.space.num_classes - len(missing)
    text += f"; {seen} of {found.space.num_classes} classes of {found.space.name} seen"
    text += f" (not {', '.join(missing)})" if missing else ""
    return f"{text}, {100 * found.pixels['ignored']:.1f} % of the pixels without a class"


def _header(found: Look) -> Markup:
    return tag(
        "header",
        tag("p", "cirn-dist · a look at a set", class_="over"),
        tag("h1", found.name),
        tag("p", f"{summary(found)}.", class_="headline"),
        *(tag("p", note, class_="about") for note in found.notes),
    )


def _faults(found: Look) -> Markup:
    if not found.faults:
        return NOTHING
    rows = [tag("tr", tag("th", one, scope="row"), tag("td", reason)) for one, reason in found.faults.items()]
    text = f"{len(found.faults):,} of those looked at cannot be used as they are."
    return section("Faults", text, table(("Image", "What is wrong"), rows, "record told"))


def _classes(found: Look) -> Markup:
    if found.space is None or not found.seen:
        return NOTHING
    pixels, images = found.pixels, found.images
    top = max(pixels.values()) or 1.0
    rows = [
        tag(
            "tr",
            tag("th", swatch(colour), name, scope="row"),
            tag("td", meter(pixels[name] / top), class_="drawn"),
            cell(f"{100 * pixels[name]:.2f}"),
            cell(f"{images[name]:,}", strong=not images[name]),
        )
        for name, colour in zip((*found.space.classes, "ignored"), (*found.space.palette, IGNORED), strict=True)
    ]
    text = (
        f"Of the {len(found.seen):,} images looked at. A class that is in none of them, or one that should be rare and "
        "is not, is the sign of a label space that does not fit the files."
    )
    heads = ("Class", "", "% of pixels", "images")
    return section("Classes", text, table(heads, rows, class_="classes"))


def _odd(found: Look) -> Markup:
    odd = found.odd()
    if not odd:
        return NOTHING
    cells = [_pictures(f"{what}: {one.source}", one, found) for what, one in odd]
    return section("Look at these first", "The images at the ends of the scale.", tag("div", *cells, class_="pairs"))


def _sheet(found: Look) -> Markup:
    if not found.seen:
        return NOTHING
    colours = [] if found.space is None else list(zip(found.space.classes, found.space.palette, strict=True))
    legend = tag("p", *(tag("span", swatch(colour), name) for name, colour in colours), class_="keys")
    cells = [_pictures(f"{one.source}, {one.size}", one, found) for one in found.seen]
    text = "Evenly spread over the set, each with its label drawn over it. Pixels without a class show the image."
    return section("Images", text if colours else "Evenly spread.", legend, tag("div", *cells, class_="pairs"))


def _pictures(title: str, one: Seen, found: Look) -> Markup:
    images = [Image.fromarray(one.image)]
    if found.space is not None:
        images.append(one.drawn_over(found.space))
    shown = (tag("img", src=data_uri(image, _WIDTH), alt=title) for image in images)
    return tag("figure", tag("figcaption", title), tag("div", *shown, class_=f"pictures of{len(images)}"))
