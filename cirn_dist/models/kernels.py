"""A CPU's own convolutions in the place of PyTorch's, where training by them is faster; names and parameters stay."""

from __future__ import annotations

from torch import nn

from cirn_dist.models.depthwise import DilatedDepthwise, StridedDepthwise
from cirn_dist.models.on_cpu import Pointwise
from cirn_dist.models.winograd import Winograd

_KINDS: tuple[type[DilatedDepthwise | StridedDepthwise | Pointwise | Winograd], ...] = (
    DilatedDepthwise,
    StridedDepthwise,
    Pointwise,
    Winograd,
)


def use_own_kernels(net: nn.Module) -> None:
    """Replace the convolutions of a network that one of ours fits; on a GPU these are PyTorch's own."""
    for parent in net.modules():
        for name, conv in parent.named_children():
            if type(conv) is nn.Conv2d:
                for kind in _KINDS:
                    if kind.fits(conv):
                        setattr(parent, name, kind.like(conv))
