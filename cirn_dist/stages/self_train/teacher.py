"""The teacher of online self-training: an average of the student over its steps, which labels images as they come.

Mean teachers are Tarvainen and Valpola's (NeurIPS 2017); that one labels target images for segmentation, DACS's
(Tranheden et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cirn_dist.data.labels import IGNORE
from cirn_dist.models.deeplab import Segmenter, SegOutput


class Labelled(NamedTuple):
    """What a teacher says of images.

    Attributes:
        labels: most probable classes, (N, H, W) int64; 255 outside an image.
        weights: of each image's pixels in a loss, (N,): the share of them that the teacher is certain of.
    """

    labels: Tensor
    weights: Tensor


def teacher_of(student: Segmenter, alike: Segmenter) -> Segmenter:
    """Return a copy that is not trained: its norm layers see their own batches, and it drops nothing.

    Args:
        alike: a network of the same build, which becomes the copy.
    """
    alike.load_state_dict(student.state_dict())
    teacher = alike.requires_grad_(False).train()
    for module in teacher.modules():
        if isinstance(module, _DropoutNd) or type(module).__name__ == "DropPath":
            module.eval()
    return teacher


@torch.no_grad()
def label(teacher: Callable[..., SegOutput], images: dict[str, Any], threshold: float) -> Labelled:
    """Label images by a teacher, every pixel; one that is less certain than `threshold` lowers its image's weight.

    Args:
        images: a micro-batch of `image` (N, 3, H, W), with `label` (N, H, W) 255 outside them.
    """
    confidence, labels = teacher(images["image"]).logits.softmax(dim=1).max(dim=1)
    inside = images["label"] != IGNORE
    certain = ((confidence >= threshold) & inside).sum(dim=(1, 2))  # integers: the same share in any batch
    return Labelled(labels.masked_fill(~inside, IGNORE), certain / inside.sum(dim=(1, 2)).clamp(min=1))


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, keep: float) -> None:
    """Move the teacher's parameters to `keep` of their own and the rest of the student's.

    Its norm layers' running statistics are of the images it has seen itself, and stay.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - keep)


def kept(done: int, decay: float, decay_images: int, images_per_step: int) -> float:
    """Return what the teacher keeps of itself after `done` steps.

    min(1 - 1/done, decay) is DACS's for steps of two images: a plain average at first, whose first update copies the
    student. A step of B images moves it as far as B / decay_images of its steps.
    """
    return min(1 - 1 / done, math.pow(decay, images_per_step / decay_images))
