"""Finding a split's images and labels in a raw folder, in an order that mixes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cirn_dist.data.pack.forms import Form
from cirn_dist.data.pack.list_file import listed
from cirn_dist.data.pack.matches import Item, Match, counts, like_labels, match, passed_over
from cirn_dist.data.pack.recipes import Recipe, Split
from cirn_dist.data.pack.walk import Walks
from cirn_dist.errors import ConfigError, DataError
from cirn_dist.seeds import permutation

_UNLABELLED = "pack without labels (--no-labels)"


@dataclass(frozen=True)
class Found:
    """A split's items in their packing order, the form they have, and lines on what is not among them."""

    items: list[Item]
    form: Form | None
    labels: bool
    notes: tuple[str, ...] = ()


def find(recipe: Recipe, raw: Path | None, split: str, labels: bool | None) -> Found:
    """List a split's items, permuted: neighbours in a shard come from all over the dataset.

    Args:
        recipe: the dataset.
        raw: its folder; None for rendered images.
        split: one of the recipe's.
        labels: True needs one per image, False looks for none, None takes one per image, or none at all where nothing
            looks like labels.

    Raises:
        DataError: folder missing or empty, label missing, two images with one key, a list or count that asks for more.
        ConfigError: a folder is given for rendered images.
    """
    rendered = recipe.layout == "streets"
    found = _rendered(recipe, split, labels) if rendered else _files(recipe, raw, split, labels)
    if rendered and raw is not None:
        fix = "drop the folder, or name the recipe that reads it"
        raise ConfigError(f"would not be read: {recipe.name} is a recipe of rendered images", where=raw, fix=fix)
    order = permutation(len(found.items), "pack", recipe.name, split)
    items = [found.items[place] for place in order]
    count = recipe.split(split).count
    if count is not None and count > len(items):
        raise DataError(f"count is {count}, the split {split!r} has {len(items)} images", where=raw or recipe.name)
    return Found(items[:count], found.form, found.labels, found.notes)


def _rendered(recipe: Recipe, split: str, labels: bool | None) -> Found:
    part = recipe.split(split)
    if part.count is None:
        raise ConfigError(
            f"split {split!r} does not say how many images to render", where=recipe.name, fix="count: 100"
        )
    stem = f"{recipe.appearance}-{recipe.seed}"
    indexes = range(part.first, part.first + part.count)
    items = [Item(f"{stem}-{index:07d}", f"streets/{stem}/{index}", index=index) for index in indexes]
    return Found(items, None, labels is not False)


def _files(recipe: Recipe, raw: Path | None, split: str, labels: bool | None) -> Found:
    if raw is None or not raw.is_dir():
        raise DataError("no such folder", where=raw or recipe.name, fix="give the raw dataset's folder")
    walks = Walks()
    best, others = _best(recipe, raw, split, labels, walks)
    notes = [*best.notes, *_unpublished(len(best.taken), recipe, split)]
    labelled = labels is not False and _are_labelled(best, labels, walks, [best, *others])
    if labels is None and best.match.form.labels and not labelled:
        notes.append(f"no labels: none of {len(best.taken):,} images has one at {best.pattern}, packed as images alone")
    if several := _shared(best.match, best.taken):
        notes.append(several)
    rest = passed_over(best.match, best.taken, [other.match for other in others], walks, labels=labelled)
    return Found(best.taken, best.match.form, labelled, (*notes, *([rest] if rest else [])))


@dataclass(frozen=True)
class _Choice:
    """What a split takes of a form's images."""

    match: Match
    taken: list[Item]
    notes: list[str]

    @property
    def labelled(self) -> int:
        return sum(item.label is not None for item in self.taken)

    @property
    def pattern(self) -> str:
        return self.match.below(self.match.root / (self.match.form.labels or ""))


def _best(recipe: Recipe, raw: Path, split: str, labels: bool | None, walks: Walks) -> tuple[_Choice, list[_Choice]]:
    """Return the form with the most labels, or else images, and the others that found some.

    Of two that find as many the first is taken; a form that looks everywhere is asked where no other found images.
    """
    choices: list[_Choice] = []
    unlisted: list[DataError] = []
    looked: list[Match] = []
    for root in recipe.roots:
        for form in recipe.forms_of(split):
            unmet = labels is not False and form.labels and not any(choice.labelled for choice in choices)
            if choices and not form.static and not unmet:
                continue
            found = match(form, raw, raw / root, walks, labels=labels is not False)
            looked.append(found)
            try:
                taken, notes = _select(found, recipe.split(split), raw)
            except DataError as error:
                unlisted.append(error)
                continue
            if taken:
                choices.append(_Choice(found, taken, notes))
    if not choices:
        raise unlisted[0] if unlisted else _nothing(recipe, raw, split, looked)
    able = [choice for choice in choices if choice.match.form.labels or not labels] or choices
    best = max(able, key=lambda choice: (choice.labelled, len(choice.taken)))
    return best, [choice for choice in choices if choice is not best]


def _nothing(recipe: Recipe, raw: Path, split: str, looked: Sequence[Match]) -> DataError:
    there = [item.image for found in looked for item in found.items if item.image]
    strays = [path for found in looked for path in found.strays]
    fix = "looked for " + ", ".join(dict.fromkeys(found.form.images for found in looked))
    if there:
        fix = f"{len(there):,} are there, none of them in the split's ranges of keys"
    elif strays:
        fix += f"; beside them lie {counts(strays)}, first {strays[0].relative_to(raw)}"
    return DataError(f"no images of {recipe.name}'s split {split!r}", where=raw, fix=fix)


def _are_labelled(best: _Choice, labels: bool | None, walks: Walks, looked: Sequence[_Choice]) -> bool:
    """Whether the images have labels: all of them, or none where nothing looks like any.

    Raises:
        DataError: some have none; none has, and they are demanded or other files lie where labels should.
    """
    found = best.match
    lost = [item for item in best.taken if item.label is None]
    if not lost:
        return True
    if not found.form.labels:
        if labels:
            raise DataError(f"the recipe names no labels for {found.form.images}", where=found.root, fix=_UNLABELLED)
        return False
    first = found.promised[lost[0].key]
    if len(lost) < len(best.taken):
        what = f"{len(lost):,} labels are missing, this one first; {best.labelled:,} images have one"
        raise DataError(what, where=first, fix=f"add them, or {_UNLABELLED}")
    alike = like_labels(found, walks)
    if labels or alike:
        patterns = " or ".join(dict.fromkeys(choice.pattern for choice in looked if choice.match.form.labels))
        there = f", though {len(alike):,} files lie there, first {found.below(alike[0])}" if alike else ""
        what = f"the images have no labels: none of {len(lost):,} has one at {patterns}{there}"
        raise DataError(what, where=first, fix=f"add them, or {_UNLABELLED}")
    return False


def _select(found: Match, split: Split, raw: Path) -> tuple[list[Item], list[str]]:
    """Keep the items of a split's ranges of keys, and those its list file names; with notes.

    Raises:
        DataError: the list names an image that is not there, or that is outside the ranges.
    """
    items: list[Item] = found.items
    notes: list[str] = []
    if split.ranges is not None:
        items = [item for item in items if any(first <= item.key <= last for first, last in split.ranges)]
    if split.list is None or not found.items:
        return items, notes
    names = listed(raw / split.list, {item.source: item.key for item in found.items}, raw.resolve().name)
    kept = {item.source: item for item in items}
    outside = next((source for source in names.sources if source not in kept), None)
    if outside:
        raise DataError(f"the listed image {outside} is outside the split's ranges of keys", where=raw / split.list)
    if names.again:
        notes.append(names.again)
    return [kept[source] for source in names.sources], notes


def _shared(found: Match, items: Sequence[Item]) -> str:
    """Say that images share labels, as those of one scene in several weathers do; empty where none do."""
    uses = Counter(item.label for item in items if item.label)
    several = [label for label, count in uses.items() if count > 1]
    return f"{len(several):,} labels are each of several images, first {found.below(several[0])}" if several else ""


def _unpublished(count: int, recipe: Recipe, split: str) -> list[str]:
    part = recipe.split(split)
    if not part.published or count == part.published or part.list or part.count:
        return []
    return [f"{count:,} images found, {part.published:,} were published"]
