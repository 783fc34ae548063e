"""The study's tables in README.md and docs/results.md, from the runs' recorded scores beside this file.

python docs/study/tables.py writes everything between the pages' marks anew.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import chain
import one_budget
import one_seed
from records import Runs, records

RECORDS = Path(__file__).resolve().parent
ROOT = RECORDS.parents[1]
MARKS = re.compile(
    r"(<!-- (?P<table>[a-z]+): written by (?:docs/)?study/tables\.py -->\n).*?(<!-- end of (?P=table) -->)", re.S
)
# What stands between the marks of each name, and the folders of its records.
TABLES: dict[str, tuple[Callable[[Runs], Iterator[str]], tuple[Path, ...]]] = {
    "scores": (chain.scores, (RECORDS,)),
    "gap": (chain.gap, (RECORDS,)),
    "classes": (chain.classes, (RECORDS,)),
    "shorter": (chain.scores, (RECORDS / "shorter",)),
    "before": (chain.scores, (RECORDS / "before",)),
    "bins": (chain.scores, (RECORDS / "equal_bins",)),
    "streets": (one_seed.streets, (RECORDS / "streets",)),
    "trials": (one_seed.scores, (RECORDS / "parameters",)),
    "methods": (one_budget.scores, (RECORDS / "methods",)),
    "budget": (one_budget.scores_240, (RECORDS, RECORDS / "methods_240")),
}
PAGES = (ROOT / "README.md", ROOT / "docs/results.md")


def written(page: Path) -> str:
    """Return a page's text with its tables as the records have them."""

    def table(found: re.Match[str]) -> str:
        lines, folders = TABLES[found["table"]]
        return found[1] + "\n".join(lines(records(*folders))) + "\n" + found[3]

    return MARKS.sub(table, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for one in PAGES:
        one.write_text(written(one), encoding="utf-8")
