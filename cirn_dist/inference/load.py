"""A trained network in the hand: `load` finds it, `predict` tells an image's classes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from cirn_dist.config.load import load as load_config
from cirn_dist.data.labels import LabelSpace
from cirn_dist.data.loading.images import to_tensor
from cirn_dist.errors import ConfigError
from cirn_dist.inference.find import find
from cirn_dist.inference.logits import decided, predict
from cirn_dist.inference.network import trained
from cirn_dist.inference.pictures import Picture, Pixels, as_pixels, input_size, scaled
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.models.ensemble import Ensemble
from cirn_dist.models.resizing import resize
from cirn_dist.models.tiling import SMALLEST_TILE, tiled
from cirn_dist.precision import HALF, choose_precision, hardware

_SHARE = 0.55  # of the colours laid over an image


@dataclass(frozen=True)
class Prediction:
    """What a network says of an image, at the image's own size.

    Attributes:
        ids: the most probable class of each pixel, (H, W) uint8: places in `space.classes`.
        confidence: its probability, (H, W) float32 in [0, 1].
        space: the classes and their colours.
    """

    ids: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    space: LabelSpace

    def coloured(self) -> Image.Image:
        """Paint the classes in the palette's colours."""
        return Image.fromarray(self.space.colour(self.ids))

    def overlay(self, image: Picture) -> Image.Image:
        """Lay the colours over the image that was predicted."""
        mixed = _SHARE * self.space.colour(self.ids) + (1 - _SHARE) * as_pixels(image)
        return Image.fromarray(np.rint(mixed).astype(np.uint8))


class TrainedSegmenter:
    """A trained segmenter with all it needs to know; no run, lock or process group is opened.

    Attributes:
        network: the segmenter, in evaluation mode.
        space: its classes, their colours and subsets.
        stage: of the run, that trained it.
        checkpoint: the folder or file it was read from; fingerprint: the checkpoint's.
        also: checkpoints of the networks whose probabilities are averaged with its own.
        size: width and height of the images it was scored at.
        scales, flip: what its run averaged predictions over.
    """

    def __init__(
        self,
        path: str | Path,
        stage: str | None = None,
        device: str | torch.device | None = None,
        config: str | Path | None = None,
        *,
        teacher: bool = False,
        also: Sequence[str | Path] = (),
    ) -> None:
        given = None if config is None else load_config(str(config))
        self.device = torch.device(device if device is not None else hardware().device)
        gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=gpus):  # building draws weights; the caller's own draws go on as they were
            found = find(Path(path), stage, given, component="teacher" if teacher else "segmenter")
            used = found.config
            self.network: Segmenter = trained(found.weights, used, self.device, where=found.path)
        self.space: LabelSpace = found.space
        self.stage, self.config = found.stage, used
        self.checkpoint: Path = found.path
        self.fingerprint = found.fingerprint
        others: list[TrainedSegmenter] = [TrainedSegmenter(one, device=self.device) for one in also]
        for one in others:
            assert_same_classes(one, found.space)
        self.also = tuple(one.checkpoint for one in others)
        members = [self.network, *(one.network for one in others)]
        self.together: Segmenter | Ensemble = Ensemble(members) if others else self.network
        self.size, self.scales, self.flip = used.data.target.size, used.evaluate.scales, used.evaluate.flip
        asked = used.engine.precision
        if asked == "fp16" and self.device.type == "cpu":  # a GPU's run, looked at on a laptop
            asked = "fp32"
        chosen = choose_precision(asked, hardware(self.device))
        self._half = HALF.get(chosen)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names; an id is a place among them."""
        return self.space.classes

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """One RGB colour per class."""
        return self.space.palette

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of the precision that the run asks for, on this device."""
        return nullcontext() if self._half is None else torch.autocast(self.device.type, self._half)

    def predict(
        self,
        image: Picture,
        *,
        size: tuple[int, int] | None = None,
        window: tuple[int, int] | None = None,
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
    ) -> Prediction:
        """Predict one image.

        Args:
            image: a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W); see `as_pixels`.
            size: width and height at which the network sees it; that of its training by default (`input_size`).
            window: see it in overlapping windows of this width and height, not as a whole; its size is then its own
                by default. For images much larger than those of the training, whose objects are as large as theirs.
            scales, flip: what to average over; as the run does by default.

        Raises:
            DataError: the image cannot be read, or is not one.
        """
        pixels = as_pixels(image)
        seen = self.seen(pixels, size, window)
        (logits,) = self.logits([seen], window=window, scales=scales, flip=flip)
        return self.decide(logits, pixels.shape[:2])

    def seen(self, image: Pixels, size: tuple[int, int] | None = None, window: tuple[int, int] | None = None) -> Pixels:
        """Return an image at the size at which the network sees it; `size` and `window` as in `predict`."""
        own = (image.shape[1], image.shape[0])
        return scaled(image, size or (own if window else input_size(own, self.size)))

    @torch.inference_mode()
    def logits(
        self,
        seen: Sequence[Pixels],
        *,
        window: tuple[int, int] | None = None,
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
    ) -> Tensor:
        """Return the logits of images of one size, (N, C, H, W) on the device, in one forward pass or window by window.

        Raises:
            ConfigError: the window is too small.
        """
        chosen, mirrored = self.scales if scales is None else scales, self.flip if flip is None else flip

        def forward(pixels: Tensor) -> Tensor:
            return predict(self.together, pixels, scales=chosen, flip=mirrored, autocast=self.autocast())

        pixels = to_tensor(seen, self.device)
        if window is None:
            return forward(pixels)
        if min(window) < SMALLEST_TILE:
            what = f"a window of {window[0]}x{window[1]}"
            raise ConfigError(what, fix=f"at least {SMALLEST_TILE}x{SMALLEST_TILE}; overlaps are a quarter of it")
        return tiled(forward, pixels, (window[1], window[0]))

    @torch.inference_mode()
    def decide(self, logits: Tensor, size: tuple[int, ...]) -> Prediction:
        """Return what the logits (C, h, w) of an image mean at its own height and width."""
        resized = resize(logits[None], size)[0]
        highest, ids = decided(resized)
        confidence = resized.sub_(highest).exp_().sum(0).reciprocal_()  # the softmax's value there
        return Prediction(ids.cpu().numpy(), confidence.cpu().numpy(), self.space)


def assert_same_classes(net: TrainedSegmenter, space: LabelSpace) -> None:
    """Check that a network's probabilities can be averaged with those of one of `space`.

    Raises:
        ConfigError: its classes are others.
    """
    if not net.space.is_same(space):
        what = f"its classes are {net.space.beside(space)}'s, not {space.beside(net.space)}'s"
        raise ConfigError(what, where=net.checkpoint, fix="average networks of the same classes")


def load(
    path: str | Path,
    stage: str | None = None,
    device: str | torch.device | None = None,
    config: str | Path | None = None,
    *,
    teacher: bool = False,
    also: Sequence[str | Path] = (),
) -> TrainedSegmenter:
    """Load the segmenter that a run has trained.

    Args:
        path: a run's folder (its last finished stage), a stage's folder in it, one checkpoint's, or an exported file;
            with `config`, weights of another project that `import-weights` has converted.
        stage: of a run, another stage than the last.
        device: the GPU if there is one, unless given.
        config: for weights alone: a configuration's file or name, for the network, its classes and image size.
        teacher: of an online self-training, its teacher in place of the student.
        also: other runs, stages, checkpoints or exported files, whose probabilities are averaged with this one's.

    Raises:
        CheckpointError: nothing of the kind is there, it is damaged, or has no segmenter.
        ConfigError: the configuration cannot be read, or one of `also` has other classes.
    """
    return TrainedSegmenter(path, stage, device, config, teacher=teacher, also=also)
