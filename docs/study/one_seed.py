"""What was tried at 240x180 on seeds of its own: what the paper varies of stage 2, longer stages, other streets."""

from __future__ import annotations

from collections.abc import Iterator

from records import Runs, line, mean, rows, scored

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
)

STREETS: tuple[tuple[str, str], ...] = (
    ("before", "as they were"),
    ("railings", "railings that are seen through, walls that are building"),
    ("pavements", "and pavements and clothes as bright beside the road as CamVid's"),
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
    yield "| streets | source only | with AdaBN | CIR | with AdaBN | sidewalk, source only |"
    yield "|---|---|---|---|---|---|"
    for experiment, title in STREETS:
        source, cir = (scored(runs, experiment, stage)[:2] or [DASH] * 2 for stage in ("source", "cir"))
        sidewalk = {
            seed: 100 * (row.iou[runs[experiment, seed].classes.index("sidewalk")] or 0.0)
            for seed, row in rows(runs, experiment, "source").items()
        }
        yield line([title, *source, *cir, mean(sidewalk)])
