"""The three shipped configurations at 160x120, trained briefly: their chains side by side."""

from __future__ import annotations

from collections.abc import Iterator

from records import Runs, line, paired, scored, values

CONFIGS = ("demo", "streets_camvid", "streets_camvid_imagenet")
STAGES = (
    ("source", "Source only"),
    ("cir", "CIR"),
    ("adapt", "CIR + ASS"),
    ("self_train", "CIR + ASS + ST"),
)
# (what, of which stage's score, less which)
GAINS = (
    ("CIR over its control", ("cir", "miou"), ("cir", "control")),
    ("ASS over its control", ("adapt", "miou"), ("adapt", "control")),
    ("ST over its control", ("self_train", "miou"), ("self_train", "control")),
    ("the whole chain over source only", ("self_train", "miou"), ("source", "miou")),
    ("the whole chain over source only with AdaBN", ("self_train", "miou"), ("source", "adabn")),
)


def scores(runs: Runs) -> Iterator[str]:
    """Yield each stage's score by configuration, AdaBN's and the control's in brackets, and what each step gains."""
    yield line(["Stage", *(f"`{config}`" for config in CONFIGS)])
    yield f"|---|{'---|' * len(CONFIGS)}"
    for stage, title in STAGES:
        every = [scored(runs, config, stage) for config in CONFIGS]
        yield line([title, *(f"{reached} ({adabn}; {control})" for reached, adabn, control in every)])
    yield ""
    yield line(["Paired by seed, points", *(f"`{config}`" for config in CONFIGS)])
    yield f"|---|{'---|' * len(CONFIGS)}"
    for what, of, less in GAINS:
        cells = []
        for config in CONFIGS:
            differences, (gain, _) = paired(values(runs, config, *of), values(runs, config, *less))
            gained = sum(difference > 0 for difference in differences)
            cells.append(f"{gain}, higher in {gained} of {len(differences)}")
        yield line([what, *cells])
