"""FDA as its authors train: the source image of each step with the low frequencies of the target image beside it."""

from __future__ import annotations

from typing import Any

from cirn_dist.config.groups.adapt import Fda
from cirn_dist.engine.step import Batch
from cirn_dist.errors import ConfigError
from cirn_dist.stages.translate.fda import swap_amplitude


def restyled(batch: Batch, settings: Fda) -> dict[str, Any]:
    """Return a micro-batch's source part, each image with the amplitudes of the target image of the same place.

    Both are drawn by the image's number, so that the pairs are the same however images are dealt to ranks.

    Raises:
        ConfigError: the two have different sizes.
    """
    source: dict[str, Any] = batch["source"]
    if settings.beta is None:
        return source
    images, others = source["image"], batch["target"]["image"]
    if images.shape != others.shape:
        sizes = " and ".join("x".join(map(str, one.shape[:-3:-1])) for one in (images, others))
        raise ConfigError(f"images of {sizes} share no frequencies", where="adapt.fda", fix="set adapt.augment.crop")
    return source | {"image": swap_amplitude(images, others, settings.beta, settings.window, clip=False)}
