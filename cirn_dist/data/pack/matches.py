"""One form of a recipe compared with a raw folder: the images and labels it finds, and the files it does not take."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cirn_dist.data.pack.forms import Form, fill, image_pattern, label_pattern
from cirn_dist.data.pack.list_file import IMAGE_SUFFIXES
from cirn_dist.data.pack.walk import Walks
from cirn_dist.errors import DataError


@dataclass(frozen=True)
class Item:
    """One image to pack.

    Args:
        key: its name in the shard set.
        source: its path below the raw folder; kept in the sample's json.
        image: the file; None for a rendered image.
        label: its label's file, when labels are packed and it has one.
        index: of a rendered image.
    """

    key: str
    source: str
    image: Path | None = None
    label: Path | None = None
    index: int = 0


@dataclass(frozen=True)
class Match:
    """What a form finds at a root.

    Args:
        items: the images, sorted by path; a split takes some or all of them.
        promised: key to the path where the form says the label is, of every item of a form that names labels.
        strays: files beside the images that the form's pattern does not take.
    """

    form: Form
    raw: Path
    root: Path
    items: list[Item]
    promised: dict[str, Path]
    strays: list[Path]

    def below(self, path: Path) -> str:
        """Return a path as it is below the raw folder."""
        return path.relative_to(self.raw).as_posix()


def match(form: Form, raw: Path, root: Path, walks: Walks, *, labels: bool) -> Match:
    """Compare a form with the folder `root` in the raw folder.

    Args:
        labels: whether label files are looked for.

    Raises:
        DataError: two images with one key, a key that is empty, a name that is no text, an image that is its own label.
    """
    pattern, at_labels = image_pattern(form), _Endings()
    items: dict[str, Item] = {}
    promised: dict[str, Path] = {}
    strays = []
    for path in walks.files(root / form.static):
        place = path.relative_to(root).as_posix()
        matched = pattern.fullmatch(place)
        if matched is None or path.suffix.lower() not in IMAGE_SUFFIXES:
            strays.append(path)
            continue
        source = path.relative_to(raw).as_posix()
        key = _key(fill(form.key, matched), source, raw)
        if key in items:
            fix = "rename one, or give the recipe's `key` more wildcards"
            raise DataError(f"two images have the key {key!r}: {items[key].source} and {source}", where=raw, fix=fix)
        if form.labels:
            promised[key] = root / fill(form.labels, matched)
            if promised[key] == path:
                raise DataError(f"`labels: {form.labels}` names the image itself", where=path, fix="name its label")
        items[key] = Item(key, source, path, at_labels.find(promised[key]) if form.labels and labels else None)
    others = set(promised.values())
    apart = {key: item for key, item in items.items() if item.image not in others}  # labels that lie beside images
    return Match(
        form, raw, root, list(apart.values()), {key: promised[key] for key in apart if key in promised}, strays
    )


def passed_over(best: Match, taken: Sequence[Item], others: Iterable[Match], walks: Walks, *, labels: bool) -> str:
    """Say in one line which files beside the images are not packed, counted by ending and reason; empty if none.

    Args:
        best: the form that is packed.
        taken: its items in the split.
        others: further forms that found images.
        walks: the folders' files.
        labels: whether labels are packed, and so looked for; without, nothing is said of them.
    """
    own = {item.image for item in best.items} | set(best.promised.values())
    is_label = _label_test(best)
    reasons: dict[Path, str] = {}
    for other in others:
        for item in other.items:
            if item.image and item.image not in own and not is_label(item.image):
                reasons[item.image] = f"of the form {other.form.images}"
    for path in best.strays:
        if path not in reasons and path not in own and not is_label(path):
            known = path.suffix.lower() in IMAGE_SUFFIXES
            reasons[path] = f"not {best.form.images}" if known else "not read as images"
    sources = {item.source for item in taken}
    reasons |= {item.image: "not in the split" for item in best.items if item.source not in sources and item.image}
    parts = [
        f"{counts(path for path, said in reasons.items() if said == reason)} ({reason})"
        for reason in dict.fromkeys(reasons.values())
    ]
    if labels and (alone := labels_alone(best, walks)):
        parts.append(f"{_several(len(alone), 'label')} without an image, first {best.below(alone[0])}")
    if again := walks.again.get(best.root / best.form.static):
        parts.append(f"{_several(len(again), 'link')} to a folder walked already, first {best.below(again[0])}")
    return "passed over: " + "; ".join(parts) if parts else ""


def labels_alone(found: Match, walks: Walks) -> list[Path]:
    """Return the files that are called as a form's labels are and belong to none of its images."""
    own, is_label = {item.label for item in found.items}, _label_test(found)
    return [path for path in _beside_labels(found, walks) if path not in own and is_label(path)]


def like_labels(found: Match, walks: Walks) -> list[Path]:
    """Return the files that may be the labels of images without one: of a label's name or, in their folder, ending."""
    if alone := [item.label for item in found.items if item.label] or labels_alone(found, walks):
        return alone
    images = {item.image for item in found.items}
    ending = Path(found.form.labels or "").suffix.lower()
    files = _beside_labels(found, walks) if found.form.static_of_labels else []
    return [path for path in files if path not in images and path.suffix.lower() == ending]


def _beside_labels(found: Match, walks: Walks) -> list[Path]:
    return walks.files(found.root / found.form.static_of_labels) if found.form.labels else []


def _label_test(found: Match) -> Callable[[Path], bool]:
    """Return whether a path is called as the labels of a form are."""
    if not found.form.labels:
        return lambda path: False
    pattern, root = label_pattern(found.form), found.root
    return lambda path: path.is_relative_to(root) and bool(pattern.fullmatch(path.relative_to(root).as_posix()))


def _several(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("s" if count > 1 else "")


def counts(paths: Iterable[Path]) -> str:
    """Count files by their endings, the most frequent first."""
    endings = Counter(path.suffix.lower() or "without an ending" for path in paths)
    return ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common())


def _key(text: str, source: str, raw: Path) -> str:
    """Make a key no reader can misread: a dot would start the field, a slash a folder."""
    key = re.sub(r"[\s.]", "_", text.strip("/")).replace("/", "-")
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"the name of {os.fsencode(source)!r} is not UTF-8", where=raw, fix="rename it") from error
    if not key:
        raise DataError("the recipe's `key` gives this image no name", where=raw / source, fix="rename it")
    return key


class _Endings:
    """Whether files exist, where an ending may be in capitals; every folder is listed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def find(self, path: Path) -> Path | None:
        """Return the file of this name, or the one that differs in its ending's case alone.

        Raises:
            DataError: several such files and none of this very name; the folder cannot be listed.
        """
        if path.parent not in self._folders:
            self._folders[path.parent] = _by_folded_name(path.parent)
        names = self._folders[path.parent].get(_folded(path.name), [])
        if path.name in names or not names:
            return path if names else None
        if len(names) > 1:
            raise DataError(f"beside it lies {names[1]}: which is the label?", where=path.with_name(names[0]))
        return path.with_name(names[0])


def _by_folded_name(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    try:
        for name in sorted(os.listdir(folder)):
            names.setdefault(_folded(name), []).append(name)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(f"cannot be listed ({error.strerror})", where=folder) from error
    return names


def _folded(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem + suffix.lower()
