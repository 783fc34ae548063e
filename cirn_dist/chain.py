"""The stages of a configuration: their order and titles, the settings each one sees, the rows and their controls.

Everything here is a function of the configuration alone; `pipeline.py` walks the list.
"""

from __future__ import annotations

from dataclasses import dataclass

from cirn_dist.config import Adapt, Config, SegmenterTraining


@dataclass(frozen=True)
class TableRow:
    """A row of the results table: a trained stage, and the stage that is its control."""

    stage: str
    title: str
    control: str | None = None
    control_title: str = ""


def stage_titles(config: Config) -> list[tuple[str, str]]:
    """Return (name, title) of every stage a configuration runs, in order."""
    controls = config.controls
    cir = [("render", "Rendering the CIR"), ("cir", "CIR")] if config.with_cir else []
    if config.with_cir and config.translate.method == "cyclegan":
        cir.insert(0, ("translate", "CycleGAN"))
    ass = "CIR + ASS" if config.with_cir else "ASS"
    return [
        ("data", "Shard sets"),
        ("source", "Source only"),
        *([("source_control", "  control: source, longer")] if controls and has_source_control(config) else []),
        *cir,
        *([("cir_control", "  control: CIR, longer")] if controls and adapts_from_cir(config) else []),
        ("adapt", ass),
        *([("adapt_control", f"  control: {ass}, longer")] if controls else []),
        *(
            (of_round(stage, number), title + ("" if number == 1 else f", round {number}"))
            for number in rounds(config)
            for stage, title in (("pseudo_label", "Pseudo labels"), ("self_train", f"{ass} + ST"))
        ),
    ]


def table_rows(config: Config) -> list[TableRow]:
    """Return the rows of Table 4 a configuration fills, each with its control of the same length.

    The CIR row is supervised training on the CIR without adaptation: the control of stage 2. Where stage 2 goes on from
    it, the control goes on from it as well, for as long.
    """
    titles = dict(stage_titles(config))
    longer = "source_control" if has_source_control(config) else "source"
    controls = {
        "cir": (longer, "source, trained as long"),
        "adapt": (("cir_control" if adapts_from_cir(config) else "cir"), "CIR, trained as long")
        if config.with_cir
        else (longer, "source, trained as long"),
        of_round("self_train", config.pseudo_label.rounds): ("adapt_control", f"{titles['adapt']}, trained as long"),
    }
    scored = ["source", *(["cir"] if config.with_cir else []), "adapt"]
    scored += [of_round("self_train", number) for number in rounds(config)]
    return [TableRow(stage, titles[stage], *(controls.get(stage, ()) if config.controls else ())) for stage in scored]


def cir_control(config: Config) -> SegmenterTraining:
    """Return stage 2's settings without its idea: supervised training on the CIR that goes on from the CIR row."""
    return SegmenterTraining(**{key: getattr(config.adapt, key) for key in SegmenterTraining.model_fields})


def adapt_control(config: Config) -> Adapt:
    """Return stage 2's settings, going on from its end for as long as stage 3's rounds last: the control of stage 3.

    Learning rate, optimizer and augmentation are stage 3's, so that the pseudo labels are the only difference.
    """
    same = ("optimizer", "lr", "momentum", "weight_decay", "power", "warmup", "augment", "clip_norm")
    kept = {key: getattr(config.self_train, key) for key in same}
    iterations = config.self_train.iterations * config.pseudo_label.rounds
    return config.adapt.model_copy(update={"init": "adapt", "iterations": iterations} | kept)


def of_round(stage: str, number: int) -> str:
    """Return the name of a stage in a later round of stage 3; the first has the plain name."""
    return stage if number == 1 else f"{stage}_{number}"


def rounds(config: Config) -> range:
    """Return the numbers of stage 3's rounds, from 1."""
    return range(1, config.pseudo_label.rounds + 1)


def adapts_from_cir(config: Config) -> bool:
    """Whether stage 2 goes on from the CIR row, so that its control is another training."""
    return config.with_cir and config.adapt.init == "cir"


def has_source_control(config: Config) -> bool:
    """Whether training on the source as the CIR row trains on the CIR differs from the source stage itself."""
    return config.cir != config.source
