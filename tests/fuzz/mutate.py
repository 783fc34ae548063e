"""What is done to bytes and to trees of values, by a random generator whose seed repeats it."""

from __future__ import annotations

import random
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e308, float("nan"), float("inf"), "", " ",
    "0", "null", "../../etc", "/", "~", "$HOME", "\x00", "\x1b[2J", "ä\ud800", "a" * 5000, [], {}, [[]], {"": {}},
    [None] * 50, {"a": {"a": {"a": {}}}},
)  # fmt: skip


def bytes_of(data: bytes, draw: random.Random) -> bytes:
    """Cut, flip, double or overwrite a part."""
    way = draw.randrange(5)
    if not data or way == 0:
        return data[: draw.randrange(len(data) + 1)]
    at = draw.randrange(len(data))
    if way == 1:
        return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
    length = draw.choice((1, 4, 64, 512))
    if way == 2:
        return data[:at] + draw.randbytes(length) + data[at + length :]
    if way == 3:
        return data[:at] + data[at : at + length] * 2 + data[at + length :]
    return data[:at] + bytes([draw.choice((0, 255))]) * min(length, len(data) - at) + data[at + length :]


def tree_of(tree: Any, draw: random.Random) -> Any:
    """Replace, remove, rename or add something somewhere in JSON content; returns another tree."""
    if isinstance(tree, dict) and tree and draw.random() < 0.85:
        key = draw.choice(list(tree))
        way = draw.random()
        if way < 0.1:
            return {k: v for k, v in tree.items() if k != key}
        if way < 0.2:
            return {(f"{k}x" if k == key else k): v for k, v in tree.items()}
        if way < 0.25:
            return tree | {draw.choice(("zz", "", "__class__", "extends")): draw.choice(HOSTILE)}
        return tree | {key: tree_of(tree[key], draw)}
    if isinstance(tree, list) and tree and draw.random() < 0.7:
        at = draw.randrange(len(tree))
        return [*tree[:at], tree_of(tree[at], draw), *tree[at + 1 :]]
    return draw.choice(HOSTILE)
