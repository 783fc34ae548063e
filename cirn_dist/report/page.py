"""A page of HTML that needs nothing else: style and script inside, light and dark, and no network."""

from __future__ import annotations

from collections.abc import Sequence

from cirn_dist.report.blocks import Section
from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.report.script import SCRIPT
from cirn_dist.report.style import CSS


def page(name: str, header: Markup, body: Sequence[Markup]) -> str:
    """Make a whole page: its header, the list of contents, its sections."""
    links = [tag("a", one.heading, href=f"#{one.anchor}") for one in body if isinstance(one, Section)]
    contents = [tag("nav", *links, aria_label="Contents")] if len(links) > 2 else []
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{name} · cirn-dist"),
        tag("style", Markup(CSS)),
    )
    content = tag("main", header, *contents, *body)
    return (
        "<!doctype html>\n" + tag("html", head, tag("body", content, tag("script", Markup(SCRIPT))), lang="en") + "\n"
    )
