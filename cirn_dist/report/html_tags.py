"""HTML and SVG by function call: whatever is not already markup is escaped, so that no caller can forget it."""

from __future__ import annotations

import html

_VOID = {"img", "input", "meta"}


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """Make an element; `class_` means class, `stroke_width` means stroke-width, None leaves an attribute out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Put pieces one after another, escaping those that are plain text."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
