"""Gradients summed without rounding: the same bits on any number of ranks.

Floating-point sums depend on their order, and the order on the number of ranks; Adam then turns the last digit of a
gradient that is almost zero into a step of full size. Integers add up to the same in any order: the gradient of every
pass is rounded to a multiple of 2^-44 by itself, and sums over passes, micro-batches and ranks are integer sums. The
price is twice the bytes of an all-reduce, and none of it hidden behind the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cirn_dist.engine.players import DdpPlayer, Group
from cirn_dist.engine.runtime import Runtime

RESOLUTION = 2.0**-44  # 6e-14: Adam's epsilon is 1e-8, and an update of 1e-13 changes no float32 weight
LARGEST = 2.0**60 * RESOLUTION  # 65,536, of a step's mean gradient in each of a player's passes, up to seven


class ExactPlayer(DdpPlayer):
    """A player whose gradients are summed as integers, once over ranks at the end of a step.

    What a rank computes of an image must not depend on the others: norm layers frozen, equal devices, the same
    micro-batch. A gradient that is not finite, or too large to sum, counts as an overflow on every rank.
    """

    def wrap(self, group: Group, runtime: Runtime) -> nn.Module:
        """Return the group itself, which reduces nothing: `gradient_norm` does."""
        self.runtime = runtime
        # One more at the end: how many gradients on how many ranks cannot be summed.
        self.sums = torch.zeros(sum(p.numel() for p in self.parameters) + 1, dtype=torch.int64, device=runtime.device)
        return group

    def backward(self, loss: Tensor, micros: int) -> None:
        """Add the gradients of the undivided loss to the sums: a division by the number of passes would round."""
        torch.autograd.backward(self.scaler.scale(loss))
        self.micros = micros
        per_unit = 1 / (self.scale() * RESOLUTION)  # a power of two, so that scaling rounds nothing
        largest = LARGEST / RESOLUTION / (micros * self.runtime.world)
        for parameter, total in self.each(self.sums):
            if parameter.grad is None:
                continue
            units = parameter.grad.double() * per_unit
            self.sums[-1] += (units.abs() <= largest).all().logical_not()  # NaN too
            total += units.round_().nan_to_num_(0.0, 0.0, 0.0).long()
            parameter.grad = None

    def gradient_norm(self) -> Tensor:
        """Sum over ranks, divide, unscale, measure and clip."""
        sums = self.runtime.sum(self.sums)
        share = RESOLUTION * self.scale() / (self.micros * self.runtime.world)
        overflow = torch.where(sums[-1] > 0, float("inf"), 0.0)
        for parameter, total in self.each(sums):
            parameter.grad = torch.empty_like(parameter).copy_(total.double() * share + overflow)
        self.sums.zero_()
        return super().gradient_norm()

    def scale(self) -> Tensor:
        """Return the scaler's factor, on the device and in double."""
        one: Tensor = self.scaler.scale(torch.ones((), device=self.sums.device))
        return one.double()

    def each(self, sums: Tensor) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Yield each parameter with its part of the flat sums, in its shape."""
        start = 0
        for parameter in self.parameters:
            yield parameter, sums[start : start + parameter.numel()].view(parameter.shape)
            start += parameter.numel()
