"""Stage 3 with a teacher: target images are labelled as they come, and mixed with labelled ones (DACS, DAFormer, MIC).

DACS (Tranheden et al. 2021) trains so from ImageNet on the source. Here the stage may go on from any other, on the CIR
as on the source, and MIC's masked target images (Hoyer et al. 2023) are one more term.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cirn_dist import losses
from cirn_dist.data.shards.shardset import ShardSet
from cirn_dist.engine.loop import Training
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Batch, Losses, Pass, StepResult
from cirn_dist.stages.evaluate.validation import validation
from cirn_dist.stages.segmenter import build_segmenter, initial_segmenter, predicted, segmenter_player, stream
from cirn_dist.stages.self_train.features import initial_features
from cirn_dist.stages.self_train.mixing import Mixed, class_draws, mix, pasted
from cirn_dist.stages.self_train.strong import mask_draws, masked, strongly_augmented
from cirn_dist.stages.self_train.teacher import Labelled, follow, kept, label, teacher_of


def online_self_training(
    run: Run, intermediate: ShardSet, target: ShardSet, labelled: ShardSet | None = None
) -> Training:
    """Return the training of the student; its teacher follows it, and is a component of its checkpoints.

    Args:
        intermediate: the labelled images: the CIR, or the source itself.
        labelled: target images it may be scored on while it trains.
    """
    settings, seed = run.config.self_train, run.config.seed
    online, classes = settings.online, run.labels.num_classes
    with_acm = run.config.model.with_acm
    student, parents = initial_segmenter(run, settings.init, with_acm=with_acm)
    apart = {"teacher": teacher_of(student, build_segmenter(run, with_acm=with_acm))}
    player = segmenter_player(run, student, settings, untrained=apart)
    teacher = player.raw("teacher")
    near = initial_features(run, parents) if online.feature_distance.weight else None
    turns = ["segmenter"] * ((settings.source_weight > 0) + 1 + (online.mask_weight > 0))

    def step(batch: Batch, iteration: int) -> Iterator[Pass]:
        source, target = batch["source"], batch["target"]
        ks = source["k"].tolist()

        # The student on labelled images.
        if settings.source_weight > 0:
            on_s = predicted(player, source)
            seg = losses.supervision(on_s, source["label"], focal_gamma=settings.focal_gamma)
            terms = {"seg": settings.source_weight * seg}
            if near is not None:
                terms["features"] = near(on_s, source)
            del on_s
            yield Pass(terms)

        # The teacher on target images as they are; the student on mixtures, their colours changed.
        by_teacher = label(teacher, target, online.threshold)
        mixed = _mixed(source, target, by_teacher, ks)
        seen = strongly_augmented(mixed.images, online, seed, "mixed", ks)
        on_m = predicted(player, {"image": seen})
        yield Pass({"mix": losses.weighted_supervision(on_m, mixed.labels, mixed.weights)}, lambda: _shares(by_teacher))
        del on_m, mixed, seen

        # The student on target images of which it sees a part.
        if online.mask_weight > 0:
            hidden = _hidden(strongly_augmented(target["image"], online, seed, "masked", ks), ks)
            on_h, weights = predicted(player, {"image": hidden}), by_teacher.weights[:, None, None]
            term = losses.weighted_supervision(on_h, by_teacher.labels, weights)
            yield Pass({"mask": online.mask_weight * term})

    def _mixed(source: Batch, target: Batch, by_teacher: Labelled, ks: list[int]) -> Mixed:
        labels: Tensor = source["label"]
        if online.mixing == "class":
            paste = pasted(labels, class_draws(classes, seed, ks).to(labels.device))
        else:
            paste = torch.zeros_like(labels, dtype=torch.bool)
        return mix(source["image"], labels, target["image"], by_teacher, paste)

    def _hidden(images: Tensor, ks: list[int]) -> Tensor:
        height, width = images.shape[-2:]
        draws = torch.stack([mask_draws((height, width), online.mask_block, seed, k) for k in ks])
        return masked(images, draws.to(images.device), online.mask_ratio, student.mean_colour)

    def after_step(done: int, result: StepResult) -> None:
        if "segmenter" not in result.skipped:
            share = kept(done, online.teacher_decay, online.teacher_decay_images, run.config.engine.images_per_step)
            follow(teacher, student, share)

    return Training(
        "self_train",
        settings.iterations,
        players={"segmenter": player},
        turns=turns,
        passes=step,
        streams={
            "source": stream(run, intermediate, settings.augment, "source", rare=online.rare_classes),
            "target": stream(run, target, settings.augment, "target", outside=True),
        },
        parents=parents,
        validate=validation(run, "self_train", student, labelled),
        after_step=after_step,
    )


def _shares(by_teacher: Labelled) -> Losses:
    """Return the share of the target's pixels that the teacher is certain of."""
    return {"certain": by_teacher.weights.mean()}
