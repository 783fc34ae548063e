"""report.html: everything about a run on one page that needs nothing else, neither a server nor a network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cirn_dist.chain import stage_titles
from cirn_dist.config.load import parse
from cirn_dist.config.schema import flatten
from cirn_dist.config.yamlfile import read_mapping
from cirn_dist.display.panels import read_pairs, read_panels
from cirn_dist.errors import ConfigError, DataError
from cirn_dist.files import replace_text
from cirn_dist.report import pictures, sections, training
from cirn_dist.report.blocks import NOTHING
from cirn_dist.report.confusion import confusion
from cirn_dist.report.html_tags import Markup
from cirn_dist.report.page import page
from cirn_dist.report.record import how_made
from cirn_dist.report.translation import translation
from cirn_dist.rundir.made import Made, made_in
from cirn_dist.rundir.metrics import FILE_NAME as METRICS
from cirn_dist.rundir.metrics import Metrics, read_metrics
from cirn_dist.rundir.overrides import overrides
from cirn_dist.rundir.results import FILE_NAME as RESULTS
from cirn_dist.rundir.results import Results, read_curve, read_results
from cirn_dist.rundir.scores import read_scores, read_worst
from cirn_dist.rundir.sets import read_sets

FILE_NAME = "report.html"


def write_report(run: Path) -> Path:
    """Write the report of a run folder into it; a part whose files are not there is left out.

    Raises:
        CirnError: there is no such folder, or one of its files is damaged.
    """
    if not run.is_dir():
        raise DataError("no run folder here", where=run, fix="give the folder of a run")
    results = read_results(run) if (run / RESULTS).exists() else None
    name = results.name if results else run.resolve().name
    config_file, run_file = run / "config.yaml", run / "run.json"
    config = read_mapping(config_file) if config_file.exists() else {}
    facts = flatten(_mapping(run_file))
    logs = _metrics_by_stage(run)

    titles = _titles(config)
    header = sections.header(name, results, facts | flatten(config))
    body: list[Markup] = []
    if results:
        curves = {row.stage: read_curve(run / row.stage) for row in results.rows}
        found = read_panels(run)
        body += [sections.scores(results), training.best_and_last(results, curves), sections.classes(results)]
        body += [_confusion(run, results)]
        body += [pictures.panels(found, results), pictures.sliders(found, results), _worst(run, results)]
        body += [pictures.gates(found, results)]
    body += [
        pictures.pairs(read_pairs(run)),
        translation(run),
        training.losses(logs, titles),
        training.diagnostics(logs, titles),
        training.teachers(logs, titles),
        training.pseudo_labels(_pseudo_labels_by_round(run), results),
        sections.data(sets) if (sets := read_sets(run)) else NOTHING,
        how_made(_records(run, titles), overrides(run), titles),
        sections.details(facts, config_file.read_text(encoding="utf-8") if config else ""),
    ]
    replace_text(run / FILE_NAME, page(name, header, body))
    return run / FILE_NAME


def _confusion(run: Path, results: Results) -> Markup:
    """Show the matrix of the last stage that has one."""
    for row in reversed(results.rows):
        found = read_scores(run / row.stage)
        if found is not None and found.confusion is not None:
            return confusion(row.title, found.confusion, results)
    return NOTHING


def _worst(run: Path, results: Results) -> Markup:
    """Show the worst images of the last stage that has some."""
    for row in reversed(results.rows):
        if found := read_worst(run / row.stage):
            return pictures.worst(row.title, found, results)
    return NOTHING


def _records(run: Path, order: Iterable[str]) -> dict[str, Made | None]:
    """Return every stage's record, those of `order` first; None of one that is there and has no record."""
    made = made_in(run)
    there = sorted({path.parent.name for path in run.glob("*/checkpoints")} - made.keys())
    found: dict[str, Made | None] = made | dict.fromkeys(there)
    return {stage: found[stage] for stage in dict.fromkeys([*order, *found]) if stage in found}


def _titles(config: dict[str, Any]) -> dict[str, str]:
    """Return the stages' titles, none where the configuration is not one of this version's."""
    try:
        titles = stage_titles(parse(config, where="config.yaml"))
        return {stage: title.strip() for stage, title in titles}
    except ConfigError:
        return {}


def _metrics_by_stage(run: Path) -> dict[str, list[Metrics]]:
    """Read every stage's metrics log, the stage that began first first."""
    logs = ((path.parent.name, read_metrics(path)) for path in sorted(run.glob(f"*/{METRICS}")))
    return dict(sorted(((stage, log) for stage, log in logs if log), key=lambda item: item[1][0].time))


def _pseudo_labels_by_round(run: Path) -> list[dict[str, Any]]:
    """Read the summary of each round's pseudo labels, in order."""
    files = sorted(run.glob("pseudo_label*/summary.json"), key=lambda path: (len(path.parent.name), path.parent.name))
    return [_mapping(file) for file in files]


def _mapping(path: Path) -> dict[str, Any]:
    """Read a JSON mapping, empty where there is no file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", where=path, fix="remove it, or run the stage again") from error
    if not isinstance(content, dict):
        raise DataError("is not a mapping", where=path, fix="remove it, or run the stage again")
    return content
