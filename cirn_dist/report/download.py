"""The numbers of the page as a file that a spreadsheet reads."""

from __future__ import annotations

import csv
import io
from urllib.parse import quote

from cirn_dist.report.html_tags import Markup, tag
from cirn_dist.rundir.results import Results, Row, Scores


def scores_csv(results: Results) -> str:
    """Return a line per stage and kind of score, with the mean and every class's IoU; a fraction, or nothing."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "seed", "stage", "score", "miou", *results.classes])
    for row in results.rows:
        for kind, scores in _kinds(row):
            values = [scores.miou, *(scores.iou or [None] * len(results.classes))]
            shown = ["" if value is None else f"{value:.6f}" for value in values]
            writer.writerow([results.name, results.seed, row.stage, kind, *shown])
    return file.getvalue()


def download(results: Results) -> Markup:
    """Make the link that saves the numbers."""
    address = f"data:text/csv;charset=utf-8,{quote(scores_csv(results))}"
    link = tag("a", "Save these numbers as CSV", href=address, download=f"{results.name}-{results.seed}.csv")
    return tag("p", link, class_="save")


def _kinds(row: Row) -> list[tuple[str, Scores]]:
    control = row.control
    found = [
        ("plain", row),
        ("adabn", row.adabn),
        ("teacher", row.teacher),
        ("control", control),
        ("control adabn", control and control.adabn),
    ]
    return [(kind, scores) for kind, scores in found if scores is not None and scores.miou is not None]
