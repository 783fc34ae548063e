"""Finding a raw dataset's images and labels as a recipe describes them, in an order that mixes them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cirn_dist.data.recipes import Form, Recipe, Split
from cirn_dist.errors import DataError
from cirn_dist.seeds import permutation

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One image to pack.

    Args:
        key: its name in the shard set.
        source: its path below the raw folder; kept in the sample's json.
        image: the file; None for a rendered image.
        label: its label's file, when labels are packed.
        index: of a rendered image.
    """

    key: str
    source: str
    image: Path | None = None
    label: Path | None = None
    index: int = 0


@dataclass(frozen=True)
class Found:
    """A split's items in their packing order, and the form they have."""

    items: list[Item]
    form: Form | None
    labels: bool


def find(recipe: Recipe, raw: Path | None, split: str, labels: bool | None) -> Found:
    """List a split's items, permuted: neighbours in a shard come from all over the dataset.

    Args:
        recipe: the dataset.
        raw: its folder; None for rendered images.
        split: one of the recipe's.
        labels: True needs one per image, False looks for none, None takes them where they are.

    Raises:
        DataError: folder missing or empty, label missing, two images with one key.
    """
    found = _rendered(recipe, split, labels) if recipe.layout == "streets" else _files(recipe, raw, split, labels)
    order = permutation(len(found.items), "pack", recipe.name, split)
    return Found([found.items[place] for place in order], found.form, found.labels)


def _rendered(recipe: Recipe, split: str, labels: bool | None) -> Found:
    part = recipe.split(split)
    indexes = range(part.first, part.first + (part.count or 1))
    stem = f"{recipe.appearance}-{recipe.seed}"
    items = [Item(f"{stem}-{index:07d}", f"streets/{stem}/{index}", index=index) for index in indexes]
    return Found(items, None, labels is not False)


def _files(recipe: Recipe, raw: Path | None, split: str, labels: bool | None) -> Found:
    if raw is None or not raw.is_dir():
        raise DataError("no such folder", where=raw or recipe.name, fix="give the raw dataset's folder")
    unlabelled: Found | None = None
    missing: Path | None = None
    for root in recipe.roots:
        for form in recipe.forms_of(split):
            items = _select(_match(raw, raw / root, form, labels), recipe.split(split), raw)
            if not items:
                continue
            first = items[0].label
            if labels is False or (first is not None and first.is_file()):
                _refuse_missing_labels(items)
                _compare(len(items), recipe, split)
                return Found(items, form, labels is not False)
            missing = missing or first
            stripped = [Item(item.key, item.source, item.image) for item in items]
            unlabelled = unlabelled or Found(stripped, form, False)
    if unlabelled is None:
        patterns = ", ".join(form.images for form in recipe.forms_of(split))
        raise DataError(f"no images of {recipe.name}'s split {split!r}", where=raw, fix=f"looked for {patterns}")
    if labels:
        raise DataError("the images have no labels", where=missing or raw, fix="add them, or pack without labels")
    _compare(len(unlabelled.items), recipe, split)
    return unlabelled


def _match(raw: Path, root: Path, form: Form, labels: bool | None) -> list[Item]:
    """List a form's images, sorted by path, each with the label the form promises it."""
    pattern = _regex(form.images)
    static = form.images.split("*")[0].rpartition("/")[0]
    items: dict[str, Item] = {}
    for path in _walk(root / static):
        match = pattern.fullmatch(path.relative_to(root).as_posix())
        if match is None or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        key = _key(_fill(form.key, match))
        source = path.relative_to(raw).as_posix()
        if key in items:
            raise DataError(f"two images have the key {key!r}: {items[key].source} and {source}", where=raw)
        label = root / _fill(form.labels, match) if form.labels and labels is not False else None
        items[key] = Item(key, source, path, label)
    return list(items.values())


def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": "(.*)", "*": "([^/]*)"}.get(part, re.escape(part)) for part in parts))


def _fill(template: str, match: re.Match[str]) -> str:
    return re.sub(r"\{(\d+)\}", lambda place: match.group(int(place.group(1))), template)


def _key(text: str) -> str:
    """Make a key no reader can misread: a dot would start the field, a slash a folder."""
    return re.sub(r"[\s.]", "_", text.strip("/")).replace("/", "-")


def _walk(folder: Path) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _select(items: list[Item], split: Split, raw: Path) -> list[Item]:
    """Keep the items of a split's ranges of keys, and those its list file names by path, stem or key."""
    if split.ranges is not None:
        items = [item for item in items if any(first <= item.key <= last for first, last in split.ranges)]
    if split.list is None or not items:
        return items
    known = {alias: item for item in items for alias in (item.key, Path(item.source).stem, item.source)}
    chosen: dict[str, Item] = {}
    for name in _listed(raw / split.list):
        item = known.get(name) or known.get(Path(name).stem)
        if item is None:
            raise DataError(f"the listed image {name} is missing", where=raw / split.list)
        chosen[item.key] = item
    return list(chosen.values())


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the split's list cannot be read ({error})", where=path) from error
    return [line.split()[0] for line in lines if line.strip()]


def _refuse_missing_labels(items: list[Item]) -> None:
    lost = [item.label for item in items if item.label is not None and not item.label.is_file()]
    if lost:
        raise DataError(f"{len(lost)} labels are missing, this one first", where=lost[0], fix="or pack without labels")


def _compare(count: int, recipe: Recipe, split: str) -> None:
    published = recipe.split(split).published
    if published and count != published:
        _log.warning("%s %s: %d images found, %d were published", recipe.name, split, count, published)
