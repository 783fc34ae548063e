"""The stages of a configuration: their order and titles, the settings each one sees, the rows and their controls.

Everything here is a function of the configuration alone; `pipeline.py` walks the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cirn_dist.config.groups.adapt import Adapt
from cirn_dist.config.groups.training import SegmenterTraining
from cirn_dist.config.schema import Config, within


@dataclass(frozen=True)
class TableRow:
    """A row of the results table: a trained stage, and the stage that is its control."""

    stage: str
    title: str
    control: str | None = None
    control_title: str = ""


@dataclass(frozen=True)
class Stage:
    """A stage, and what its outcome depends on.

    Attributes:
        sees: the settings and data sets it reads, each a key or a group of keys.
        but: those of them that it does not read.
        iterations: of its training; None where it trains nothing.
        length: the settings that give its iterations.
        remade: of what it sees, what a finished set of images is made again for.
    """

    name: str
    title: str
    sees: tuple[str, ...]
    but: tuple[str, ...] = ()
    iterations: int | None = None
    length: tuple[str, ...] = ()
    remade: tuple[str, ...] = ()

    def depends_on(self, key: str) -> bool:
        """Whether a setting, or a data set as `data.source`, changes what comes out."""
        return within(key, self.sees) and not within(key, self.but)


# What every training reads; codec and size of a shard are the packing's, other settings the scoring's.
_TRAINING = ("seed", "data", "model", "engine", "evaluate.every")
_SCORED = ("data.scored", "data.target.score_split", "data.target.score_options", "data.target.map_labels")
_ELSEWHERE = ("data.codec", "data.shard_mb", *_SCORED)
# A network without ACM that is given ImageNet's weights or imported ones, or goes on from another stage.
_PLAIN, _GIVEN = ("model.acm", "model.with_acm"), ("model.weights", "model.segmenter")
_PREDICTION = ("evaluate.flip", "evaluate.scales")

# What stage 3 reads only where its labels are made before it.
_OFFLINE = ("self_train.lambda_adv", "self_train.lambda_kld", "self_train.lambda_entropy")

# Written anew by a start that finds it made of something else, so that it always sees a change.
RESULTS = Stage(
    "results",
    "Results",
    (
        *("name", "controls", "with_adapt", "with_self_train"),
        *(*_PREDICTION, "evaluate.adabn", "evaluate.adabn_images", "data.target", "data.scored"),
    ),
)


def stages(config: Config) -> list[Stage]:
    """Return the stages that a configuration runs, in order."""
    controls, titles = config.controls, _row_titles(config)
    found = [Stage("data", "Shard sets", ("data",)), _supervised(config, "source", titles["source"], "source")]
    if controls and has_source_control(config):
        found.append(_supervised(config, "source_control", "  control: source, longer", "cir"))
    if config.with_cir:
        found += [*_translating(config), _supervised(config, "cir", titles["cir"], "cir")]
    if controls and adapts_from_cir(config):
        found.append(_supervised(config, "cir_control", "  control: CIR, longer", "adapt"))
    if config.with_adapt:
        found.append(_adversarial(config, "adapt", titles["adapt"]))
    if controls and config.with_self_train:
        longer = f"  control: {titles[before_self_training(config)]}, longer"
        kind = _adversarial if config.with_adapt else _supervised_as_long
        found.append(kind(config, self_training_control(config), longer))
    for number in rounds(config):
        if not config.is_online:
            own = ("pseudo_label", "data.target", "with_adapt", *(() if config.with_adapt else ("with_cir",)))
            seen, title = (*own, *_PREDICTION, "data.label_space"), f"Pseudo labels{_later(number)}"
            name = stage_in_round("pseudo_label", number)
            found.append(Stage(name, title, seen, _ELSEWHERE, remade=own))
        name = stage_in_round("self_train", number)
        found.append(_self_training(config, name, titles[name]))
    return found


def _row_titles(config: Config) -> dict[str, str]:
    """Return the titles of the stages that fill the table's rows: each adds its idea to those before it."""
    titles, ideas = {"source": "Source only"}, []
    if config.with_cir:
        ideas.append("CIR")
        titles["cir"] = " + ".join(ideas)
    if config.with_adapt:
        ideas.append(config.adapt.title)
        titles["adapt"] = " + ".join(ideas)
    ideas.append(config.self_train.title or ("online ST" if config.is_online else "ST"))
    for number in rounds(config):
        titles[stage_in_round("self_train", number)] = " + ".join(ideas) + _later(number)
    return titles


def _later(number: int) -> str:
    return "" if number == 1 else f", round {number}"


def _translating(config: Config) -> list[Stage]:
    """Return stage 1: the training of the generator, where there is one, and the rendering."""
    title, settings = "Rendering the CIR", config.translate
    seen: tuple[str, ...] = ("with_cir", "render.tile", "data.codec")
    if settings.method != "cyclegan":
        seen = (*seen, "seed", "translate", "data.source", "data.target")
        return [Stage("render", title, seen, _SCORED, remade=seen)]
    but = (*_ELSEWHERE, *_PLAIN, *_GIVEN, "evaluate.every")
    generator = Stage(
        "translate", "CycleGAN", (*_TRAINING, "translate"), but, settings.iterations, ("translate.iterations",)
    )
    # What else the generator is given, its training has fixed.
    return [generator, Stage("render", title, seen, remade=seen)]


def _supervised(
    config: Config, name: str, title: str, group: str, longer: SegmenterTraining | None = None, *by: str
) -> Stage:
    """Return a stage that trains a plain segmenter by the settings of `group`.

    Args:
        longer: the settings where they are not the group's own; by: what beside its iterations gives theirs.
    """
    settings: SegmenterTraining = getattr(config, group) if longer is None else longer
    length = (f"{group}.iterations", *by)
    own = tuple(f"{group}.{key}" for key in SegmenterTraining.model_fields)  # of others, those without their idea
    domain = ("data.target",) if name.startswith("source") else ()
    but = (*_ELSEWHERE, *_PLAIN, *domain, *(() if settings.init == "pretrained" else _GIVEN))
    cir = () if name.startswith("source") else ("with_cir",)
    return Stage(name, title, (*_TRAINING, *cir, *own, *length), but, settings.iterations, length)


def _adversarial(config: Config, name: str, title: str) -> Stage:
    """Return stage 2 or its control, whose schedule is stage 3's."""
    seen, but = (*_TRAINING, "with_cir", "adapt"), (*_ELSEWHERE, *(() if config.adapt.init == "pretrained" else _GIVEN))
    if name == "adapt":
        return Stage(name, title, seen, but, config.adapt.iterations, ("adapt.iterations",))
    settings, length = adapt_control(config), ("self_train.iterations", "pseudo_label.rounds")
    schedule = (*(f"self_train.{key}" for key in _SCHEDULE), *length)
    replaced = ("adapt.init", "adapt.acm_start", "adapt.iterations", *(f"adapt.{key}" for key in _SCHEDULE), *_GIVEN)
    return Stage(name, title, (*seen, *schedule), (*but, *replaced), settings.iterations, length)


def _supervised_as_long(config: Config, name: str, title: str) -> Stage:
    """Return the control of a stage 3 that no stage 2 comes before: its settings, without the target."""
    return _supervised(config, name, title, "self_train", supervised_control(config), "pseudo_label.rounds")


def _self_training(config: Config, name: str, title: str) -> Stage:
    settings = config.self_train
    with_terms = settings.lambda_adv or config.pseudo_label.easy_share is not None
    seen = (*_TRAINING, "with_cir", "self_train", *(("adapt",) if with_terms else ()))
    other = _OFFLINE if config.is_online else ("self_train.online",)
    but = (*_ELSEWHERE, *other, *(() if settings.init == "pretrained" else _GIVEN))
    return Stage(name, title, seen, but, settings.iterations, ("self_train.iterations",))


def stage_titles(config: Config) -> list[tuple[str, str]]:
    """Return (name, title) of every stage a configuration runs, in order."""
    return [(stage.name, stage.title) for stage in stages(config)]


def table_rows(config: Config) -> list[TableRow]:
    """Return the rows of Table 4 a configuration fills, each with its control of the same length.

    The CIR row is supervised training on the CIR without adaptation: the control of stage 2. Where stage 2 goes on from
    it, the control goes on from it as well, for as long.
    """
    titles = _row_titles(config)
    longer = "source_control" if has_source_control(config) else "source"
    controls = {
        "cir": (longer, "source, trained as long"),
        "adapt": (("cir_control" if adapts_from_cir(config) else "cir"), "CIR, trained as long")
        if config.with_cir
        else (longer, "source, trained as long"),
    }
    if config.with_self_train:
        before = titles[before_self_training(config)]
        last = stage_in_round("self_train", config.pseudo_label.rounds)
        controls[last] = (self_training_control(config), f"{before}, trained as long")
    scored = ["source", *(["cir"] if config.with_cir else []), *(["adapt"] if config.with_adapt else [])]
    scored += [stage_in_round("self_train", number) for number in rounds(config)]
    return [TableRow(stage, titles[stage], *(controls.get(stage, ()) if config.controls else ())) for stage in scored]


def before_self_training(config: Config) -> str:
    """Return the stage before stage 3: what labels the target for its first round, where labels are made before it."""
    return "adapt" if config.with_adapt else "cir" if config.with_cir else "source"


def self_training_control(config: Config) -> str:
    """Return the name of stage 3's control: stage 2 going on, or where there is none, training without the target."""
    return "adapt_control" if config.with_adapt else "self_train_control"


def supervised_control(config: Config) -> SegmenterTraining:
    """Return stage 3's settings without its idea, for as long as its rounds last: its control without a stage 2."""
    return SegmenterTraining(**_of_training(config.self_train) | _all_rounds(config))


def _all_rounds(config: Config) -> dict[str, int | None]:
    """Return how long stage 3's rounds last together."""
    settings, count = config.self_train, config.pseudo_label.rounds
    over = settings.decay_over
    return {"iterations": settings.iterations * count, "decay_over": None if over is None else over * count}


def cir_control(config: Config) -> SegmenterTraining:
    """Return stage 2's settings without its idea: supervised training on the CIR that goes on from the CIR row."""
    return SegmenterTraining(**_of_training(config.adapt))


def adapt_within(config: Config) -> Adapt:
    """Return stage 2's terms with all else stage 3's: stage 2 once more, within the target (`easy_share`)."""
    return config.adapt.model_copy(update=_of_training(config.self_train))


def _of_training(settings: SegmenterTraining) -> dict[str, Any]:
    """Return the settings that every training of a segmenter has."""
    return {key: getattr(settings, key) for key in SegmenterTraining.model_fields}


# What stage 2's control has of stage 3.
_SCHEDULE = ("optimizer", "lr", "decay_over", "momentum", "weight_decay", "power", "warmup", "augment", "clip_norm")


def adapt_control(config: Config) -> Adapt:
    """Return stage 2's settings, going on from its end for as long as stage 3's rounds last: the control of stage 3.

    Learning rate, optimizer and augmentation are stage 3's, so that the pseudo labels are the only difference.
    """
    kept = {key: getattr(config.self_train, key) for key in _SCHEDULE}
    return config.adapt.model_copy(update={"init": "adapt"} | kept | _all_rounds(config))


def stage_in_round(stage: str, number: int) -> str:
    """Return the name of a stage in a later round of stage 3; the first has the plain name."""
    return stage if number == 1 else f"{stage}_{number}"


def rounds(config: Config) -> range:
    """Return the numbers of stage 3's rounds, from 1; none without it."""
    return range(1, config.pseudo_label.rounds + 1 if config.with_self_train else 1)


def adapts_from_cir(config: Config) -> bool:
    """Whether stage 2 goes on from the CIR row, so that its control is another training."""
    return config.with_cir and config.with_adapt and config.adapt.init == "cir"


def has_source_control(config: Config) -> bool:
    """Whether the CIR row, or stage 2 without it, has a control on the source that differs from the source stage."""
    return (config.with_cir or config.with_adapt) and config.cir != config.source
