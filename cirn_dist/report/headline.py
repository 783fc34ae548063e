"""What came out, in a sentence and its numbers: the last stage beside everything it must beat."""

from __future__ import annotations

from dataclasses import dataclass

from cirn_dist.display.tables import percent
from cirn_dist.report.blocks import NOTHING
from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.rundir.results import Results, Row, Scores


@dataclass(frozen=True)
class Baseline:
    """What the last stage is compared with.

    Attributes:
        over: as a sentence names it after "points above".
        short: as a tile names it.
        miou: a fraction.
    """

    over: str
    short: str
    miou: float


def baselines(results: Results) -> list[Baseline]:
    """Return what the last scored stage must beat: the first stage, its own control, and either with AdaBN."""
    rows = scored(results)
    if len(rows) < 2:
        return []
    first, last = rows[0], rows[-1]
    control = last.control
    found: list[tuple[str, str, Scores]] = [(first.title, first.title, first)]
    if first.adabn is not None:
        found.append((f"{first.title} with AdaBN", "AdaBN", first.adabn))
    if control is not None:
        found.append((f"its control ({control.title})", "its control", control))
        if control.adabn is not None:
            found.append(("that control with AdaBN", "its control, AdaBN", control.adabn))
    return [Baseline(over, short, one.miou) for over, short, one in found if one.miou is not None]


def headline(results: Results) -> str:
    """Put the run's outcome in words, a loss as plainly as a gain."""
    rows = scored(results)
    if not rows:
        return "The target has no labels, so nothing is scored; the pictures show what was learned."
    last = rows[-1]
    sentence = f"{last.title} reaches {percent(last.miou)} % mIoU on the target"
    if beaten := [f"{_compared(points(last.miou, one.miou))} {one.over}" for one in baselines(results)]:
        sentence += ": " + ", ".join(beaten)
    top = max(rows, key=lambda row: row.miou or 0)
    if percent(top.miou) != percent(last.miou):
        sentence += f". The best stage is {top.title} with {percent(top.miou)} %"
    images = "" if results.images is None else f", {results.images:,} scored images"
    return f"{sentence}. One seed{images}."


def key_numbers(results: Results) -> Markup:
    """Show the first and the last stage's score, and the last one's gain over each baseline."""
    rows = scored(results)
    if len(rows) < 2:
        return NOTHING
    first, last = rows[0], rows[-1]
    cards = [
        tag("div", tag("dt", first.title, tag("small", "no adaptation")), tag("dd", percent(first.miou))),
        tag("div", tag("dt", last.title, tag("small", "the whole chain")), tag("dd", percent(last.miou))),
    ]
    for one in baselines(results):
        gain = points(last.miou, one.miou)
        note = tag("small", f"points; it has {percent(one.miou)}")
        number = tag("dd", f"{gain:+.1f}", class_="lost" if gain < 0 else "won")
        cards.append(tag("div", tag("dt", f"over {one.short}", note), number))
    return tag("dl", *cards, class_="numbers")


def scored(results: Results) -> list[Row]:
    """Return the rows that have a score."""
    return [row for row in results.rows if row.miou is not None]


def points(value: float | None, base: float | None) -> float:
    """Give the difference in points of the two printed numbers, so that a reader's subtraction agrees."""
    return round(float(percent(value)) - float(percent(base)), 1)


def _compared(gain: float) -> str:
    return f"{abs(gain):.1f} points {'above' if gain > 0 else 'below'}" if gain else "the same as"
