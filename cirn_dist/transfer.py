"""From the host's memory to the device's, without the host waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host's memory on the device, or on its way there: what uses it comes after it.

    A GPU fetches by itself from memory that stays in place; from any other the host has to wait until all is copied.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
