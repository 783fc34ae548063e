"""What the report's sections are made of: a section, a table, a cell, a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cirn_dist.report.html_tags import Markup, tag

NOTHING = Markup("")


class Section(Markup):
    """A card of the page that the list of contents names.

    Attributes:
        heading: as it is shown; anchor: the name of its place on the page.
    """

    heading: str
    anchor: str


def section(title: str, text: str, *content: Markup) -> Section:
    """Make a card with a heading and a sentence of what it shows."""
    anchor = "-".join(re.findall(r"[a-z0-9]+", title.lower()))
    found = Section(tag("section", tag("h2", title), tag("p", text, class_="about"), *content, id=anchor))
    found.heading, found.anchor = title, anchor
    return found


def table(heads: Sequence[str], body: Sequence[Markup], class_: str | None = None) -> Markup:
    """Make a table that scrolls where the page is too narrow; `body` are its rows."""
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads)))
    return tag("div", tag("table", head, tag("tbody", *body), class_=class_), class_="scroll")


def cell(text: str, *, strong: bool = False) -> Markup:
    """Make a table cell with a number in it."""
    return tag("td", tag("b", text) if strong else text, class_="num")


def picture(title: str, uri: str, class_: str | None = None) -> Markup:
    """Make a captioned image; `class_` is "labels" where pixels must stay pixels."""
    return tag("figure", tag("figcaption", title), tag("img", src=uri, alt=title, class_=class_))
