"""A page of HTML that needs nothing else: its style inside, light and dark, and no network."""

from __future__ import annotations

from collections.abc import Sequence

from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.report.style import CSS


def page(name: str, body: Sequence[Markup]) -> str:
    """Make a whole page of its sections."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{name} · cirn-dist"),
        tag("style", Markup(CSS)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *body)), lang="en") + "\n"
