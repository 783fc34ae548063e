"""Feature extractors of timm, the field's library of image networks: `timm:NAME` for every one with feature maps.

Weights are a local file with the network's own names, as timm publishes them; nothing is fetched while a run works.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from cirn_dist.errors import ConfigError
from cirn_dist.libraries import installed

PREFIX = "timm:"
OWN = "levels.net.model."  # where a backbone has the network, whose own names come after it
MULTIPLE = 32  # pixels: what sides are padded to, for networks whose branches meet again
# What makes a network take images of any size, or keep its resolution; each knows one of them, or none.
_DENSE = {"output_stride": 8}
_ANY_SIZE: tuple[dict[str, Any], ...] = ({}, {"strict_img_size": False}, {"dynamic_img_size": True})


class Levels(nn.Module):
    """A timm network that returns its feature maps: all four strides' (4, 8, 16, 32), or the last alone.

    Args:
        name: timm's.
        every: all levels, for heads that join them; else the last, at stride 8 where the network can keep it.
        drop_path: share of residual branches left out in training, where the network has that.
    """

    def __init__(self, name: str, *, every: bool, drop_path: float = 0.0) -> None:
        super().__init__()
        self.name, self.every = name, every
        self.net = create(name, dense=not every, drop_path=drop_path)
        channels, strides = self.net.feature_info.channels(), self.net.feature_info.reduction()
        self.taken = _four(name, strides) if every else [len(strides) - 1]
        self.channels: tuple[int, ...] = tuple(channels[level] for level in self.taken)
        self.strides: tuple[int, ...] = tuple(strides[level] for level in self.taken)
        self.mean: tuple[float, ...] = tuple(self.net.model.default_cfg["mean"])
        self.std: tuple[float, ...] = tuple(self.net.model.default_cfg["std"])

    def beyond(self) -> tuple[str, ...]:
        """Return the names of what the whole network has beyond its features, as a file of its weights has them."""
        whole = _timm().create_model(self.name).state_dict()
        own = self.net.model.state_dict()
        return tuple(OWN + name for name in whole if name not in own)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Return the feature maps of (N, 3, H, W) images, the finest first, or the last one."""
        maps: list[Tensor] = self.net(images)
        taken = [maps[level] for level in self.taken]
        return taken if self.every else taken[-1]


def published(name: str) -> str:
    """Say where a network's weights are published, and under which licence."""
    config = _timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    licence = getattr(config, "license", None) or "not stated"
    place = getattr(config, "hf_hub_id", None) or getattr(config, "url", None) or "nowhere"
    return f"{place}, licence {licence}"


def _timm() -> Any:
    if not installed("timm"):
        raise ConfigError("timm is not installed", where="model.backbone", fix="pip install 'cirn_dist[timm]'")
    import timm

    return timm


def create(name: str, *, dense: bool, drop_path: float) -> Any:
    """Build timm's network that gives its feature maps, of images of any size.

    Args:
        dense: keep the last ones' stride at 8, where the network can.

    Raises:
        ConfigError: timm has no such network, or it gives none.
    """
    timm = _timm()
    if name.partition(".")[0] not in timm.list_models():
        near = get_close_matches(name, timm.list_models(), 3)
        fix = f"perhaps {' or '.join(PREFIX + one for one in near)}" if near else "timm.list_models() has their names"
        raise ConfigError(f"timm has no {name}", where="model.backbone", fix=fix)
    given: dict[str, Any] = {"features_only": True, "feature_cls": "getter"}
    if drop_path:
        given["drop_path_rate"] = drop_path
    reason = ""
    for stride in (_DENSE, {}) if dense else ({},):
        for size in _ANY_SIZE:
            try:
                net = timm.create_model(name, **given, **size, **stride)
            # Each of timm's networks refuses a keyword it does not know in its own way, and is asked otherwise.
            except (TypeError, AssertionError, NotImplementedError, ValueError, RuntimeError, AttributeError) as error:
                reason = reason or str(error).partition("\n")[0] or type(error).__name__
                continue
            if size or not net.model.default_cfg.get("fixed_input_size", False):
                return net
            reason = reason or "it takes images of one size"
    raise ConfigError(f"timm's {name} gives no feature maps of any image ({reason})", where="model.backbone")


def _four(name: str, strides: list[int]) -> list[int]:
    """Return which of a network's levels have strides 4, 8, 16 and 32, the last of each.

    Raises:
        ConfigError: there is none of one of them.
    """
    try:
        return [len(strides) - 1 - strides[::-1].index(stride) for stride in (4, 8, 16, 32)]
    except ValueError:
        what = f"timm's {name} has levels of strides {', '.join(map(str, strides))}"
        raise ConfigError(what, where="model.head", fix="a head that joins levels needs 4, 8, 16 and 32") from None
