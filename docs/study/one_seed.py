"""What was tried at 240x180 on seeds of its own: what the paper varies of stage 2, longer stages, other streets."""

from __future__ import annotations

from collections.abc import Iterator

from records import Runs, line, mean, scored, values

from cirn_dist.display.tables import DASH

PLAIN = "streets_camvid_240"
TRIALS: tuple[tuple[str, str, str], ...] = (
    (PLAIN, "source", "source only"),
    (PLAIN, "cir", "CIR"),
    ("cyclegan_4800", "cir", "CIR, CycleGAN trained on 4,800 images, not 480"),
    (PLAIN, "adapt", "CIR + ASS, 800 images; K = 2, lambda_cos 10, epsilon 0.4"),
    *((f"k{k}", "adapt", f"K = {k}") for k in (0, 1, 3, 4)),
    *((f"lambda_cos{value}", "adapt", f"lambda_cos {value}") for value in (1, 40, 80)),
    *((f"epsilon{value}", "adapt", f"epsilon {value}") for value in ("0.1", "1.0")),
    ("longer", "adapt", "CIR + ASS, 3,200 images"),
    (PLAIN, "self_train", "CIR + ASS + ST, 800 images each"),
    ("longer", "self_train", "CIR + ASS + ST, 3,200 images each"),
    ("rounds2", "adapt", "on the streets as they are now: CIR + ASS, 1,600 images"),
    ("rounds2", "self_train", "CIR + ASS + ST, 1,600 images each"),
    ("rounds2", "self_train_2", "and a second round of ST"),
    ("halves", "self_train", "CIR + ASS + ST, half of every class also where the network is surest"),
)

STREETS: tuple[tuple[str, str], ...] = (
    ("before", "as they were"),
    ("railings", "railings that are seen through, walls that are building"),
    ("pavements", "those, and darker pavements and clothes"),
)


def scores(runs: Runs) -> Iterator[str]:
    """Yield the scores of what was tried, in the order of the stages."""
    yield "| seed 100 | mIoU | with AdaBN | control, trained as long |"
    yield "|---|---|---|---|"
    for experiment, stage, title in TRIALS:
        if cells := scored(runs, experiment, stage):
            yield line([title, *cells])


def streets(runs: Runs) -> Iterator[str]:
    """Yield the scores on streets with and without what they had lacked."""
    yield "| streets | source only | CIR | CIR + ASS + ST | seeds | of the whole chain |"
    yield "|---|---|---|---|---|---|"
    for experiment, title in STREETS:
        found = [values(runs, experiment, stage) for stage in ("source", "cir", "self_train")]
        seeds = [", ".join(map(str, sorted(of))) or DASH for of in (found[0], found[-1])]
        yield line([title, *map(mean, found), *seeds])
