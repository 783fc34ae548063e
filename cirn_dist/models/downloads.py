"""ImageNet weights as torchvision publishes them: where they are kept, whether they are whole, fetching them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
import torchvision

from cirn_dist.errors import CheckpointError, ConfigError
from cirn_dist.models.timm_backbones import PREFIX, published

_UNPUBLISHED = ("tiny", "resnet101_caffe")


def kept_at(name: str) -> Path:
    """Return where a backbone's ImageNet weights are kept: torch's cache, which TORCH_HOME moves.

    Raises:
        ConfigError: nobody publishes any for it.
    """
    return Path(torch.hub.get_dir()) / "checkpoints" / _url(name).rpartition("/")[2]


def is_whole(file: Path) -> bool:
    """Whether a file has the SHA-256 whose first digits its name ends with, as `resnet18-f37072fd.pth`."""
    digits = re.search(r"-([0-9a-f]{8,})\.", file.name)
    with file.open("rb") as content:
        return digits is None or hashlib.file_digest(content, "sha256").hexdigest().startswith(digits[1])


def fetch(name: str) -> Path:
    """Download a backbone's ImageNet weights unless they are here; returns their file.

    Raises:
        ConfigError: nobody publishes any for it.
        CheckpointError: no network, no room, or what is here or came is damaged.
    """
    file = kept_at(name)
    advice = f"run cirn-dist fetch where there is a network, with TORCH_HOME where both see it, or bring {_url(name)}"
    try:
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(_url(name), str(file), progress=False)
        if not is_whole(file):
            raise CheckpointError("is damaged", where=file, fix="remove it, and fetch it again")
    except OSError as error:
        raise CheckpointError(
            f"ImageNet weights of {name} are not here and cannot be downloaded ({error})", where=file, fix=advice
        ) from error
    return file


def _url(name: str) -> str:
    if name.startswith(PREFIX):
        fix = f"download them from {published(name)}, and set model.weights to the file; or null for none"
        raise ConfigError(f"nothing is fetched for {name}", where="model.weights", fix=fix)
    if name in _UNPUBLISHED:
        raise ConfigError(f"torchvision has no ImageNet weights for {name}", fix="name a file, or null for none")
    url: str = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    return url
