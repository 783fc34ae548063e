"""Dense 3x3 convolutions on a CPU in float32, by Winograd's algorithm: a fourth of the multiplications.

Four by four output pixels are computed from six by six of the input: Y = A' [(G g G') (B' d B)] A, F(4x4, 3x3) of
Lavin and Gray 2016 (arXiv 1509.09308), where only the product in the middle, 36 matrices of channels by channels, meets
every channel with every other. Their sums round otherwise than the direct ones: by 1e-5 of the largest value, not 2e-6.
Only training on a CPU in float32 goes this way, with channels and pixels enough to pay.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from cirn_dist.models.on_cpu import OwnConv, in_float32, product, products

CHANNELS = 128  # below, and with fewer pixels, the transforms cost what the products save
PIXELS = 768

_INPUT = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
          (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))  # fmt: skip
_KERNEL = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
           (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))  # fmt: skip
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


class Winograd(OwnConv):
    """A 3x3 convolution of stride 1; parameters and result as nn.Conv2d's."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        if not self._pays(x):
            return super().forward(x)
        found = convolve(x, self.weight, self.dilation[0], int(self.padding[0]))
        return found if self.bias is None else found + self.bias[:, None, None]

    @staticmethod
    def fits(conv: nn.Conv2d) -> bool:
        """Whether this can stand for a convolution."""
        d, p = conv.dilation[0], conv.padding[0]
        return (
            min(conv.in_channels, conv.out_channels) >= CHANNELS
            and isinstance(p, int)
            and p <= 2 * d  # the gradient is a convolution too, padded by the rest
            and (conv.kernel_size, conv.stride, conv.dilation, conv.padding) == ((3, 3), (1, 1), (d, d), (p, p))
            and conv.groups == 1
            and conv.padding_mode == "zeros"
        )

    def _pays(self, x: Tensor) -> bool:
        # Of one image: the batch it is in decides nothing.
        return in_float32(x, self.weight) and x.shape[2] * x.shape[3] >= PIXELS


def convolve(x: Tensor, weight: Tensor, dilation: int, padding: int) -> Tensor:
    """Convolve (N, C, H, W) by (K, C, 3, 3), both of one dtype; gradients flow to both."""
    return cast(Tensor, _Convolution.apply(x, weight, dilation, padding))


class _Convolution(torch.autograd.Function):
    """Its gradients: the input's is such a convolution too, the weight's the same products, of both sides' tiles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, d: int, p: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.d, ctx.p = d, p
        kernels = _kernels(weight, _twice(_KERNEL, x.dtype))
        return _products(x, kernels, d, p)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        d, p = ctx.d, ctx.p
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            turned = _kernels(weight, _twice(_KERNEL, x.dtype).flip(1))
            of_x = _products(gradient, turned.transpose(1, 2), d, 2 * d - p)
        if ctx.needs_input_grad[1]:
            tiles = _tiles(len(x), *x.shape[2:], d, p)
            before = _transformed(_pixels(x), tiles.taken, _twice(_INPUT, x.dtype))
            after = _transformed(_pixels(gradient), tiles.given, _twice(_OUTPUT, x.dtype).T)
            met = products(after.transpose(1, 2), before.transpose(1, 2))  # (36, K, C)
            grid = product(_twice(_KERNEL, x.dtype).T, met.flatten(1).T)
            of_weight = grid.view(3, 3, *met.shape[1:]).permute(2, 3, 0, 1)
        return of_x, of_weight, None, None


def _kernels(weight: Tensor, matrix: Tensor) -> Tensor:
    """Return G g G' of every kernel, `matrix` being G twice: (K, C, 3, 3) -> (36, K, C)."""
    k, c = weight.shape[:2]
    return product(matrix, weight.permute(2, 3, 0, 1).reshape(9, k * c).T).view(36, k, c)


def _products(x: Tensor, kernels: Tensor, d: int, p: int) -> Tensor:
    """Convolve (N, C, H, W) by kernels that are transformed, (36, K, C)."""
    n, _, h, w = x.shape
    k = kernels.shape[1]
    tiles = _tiles(n, h, w, d, p)
    met = products(_transformed(_pixels(x), tiles.taken, _twice(_INPUT, x.dtype)), kernels)  # (36, tiles, K)
    found = product(_twice(_OUTPUT, x.dtype), met.flatten(1).T).view(-1, k)  # (16 tiles, K)
    return found.index_select(0, tiles.back).view(n, h + 2 * p - 2 * d, w + 2 * p - 2 * d, k).permute(0, 3, 1, 2)


def _transformed(pixels: Tensor, index: Tensor, matrix: Tensor) -> Tensor:
    """Gather the pixels of every tile and mix each tile's by a matrix: (pixels, C) -> (36, tiles, C)."""
    channels = pixels.shape[1]
    gathered = pixels.index_select(0, index).view(matrix.shape[1], -1)
    return product(matrix, gathered.T).view(len(matrix), -1, channels)


def _pixels(x: Tensor) -> Tensor:
    """Return (N, C, H, W) as (N H W + 1, C), where the last is a pixel of zeros."""
    n, c, h, w = x.shape
    return torch.cat([x.permute(0, 2, 3, 1).reshape(n * h * w, c), x.new_zeros(1, c)])


class _Tiles(NamedTuple):
    """Which pixels are whose: positions among `_pixels`, of a tile's first pixel in all tiles, then its second...

    Attributes:
        taken: 36 tiles, pixels of the input.
        given: 16 tiles, pixels of the output.
        back: N H W, of every pixel of the output its position in `given`.
    """

    taken: Tensor
    given: Tensor
    back: Tensor


@functools.lru_cache(maxsize=64)
def _tiles(n: int, height: int, width: int, d: int, p: int) -> _Tiles:
    """Cover the output of a convolution by tiles whose pixels are d apart."""
    out_height, out_width = (side + 2 * p - 2 * d for side in (height, width))
    rows, columns = _starts(out_height, d), _starts(out_width, d)
    taken = _positions(n, height, width, rows - p, columns - p, d * torch.arange(6))
    given = _positions(n, out_height, out_width, rows, columns, d * torch.arange(4))
    back = torch.empty(n * out_height * out_width + 1, dtype=torch.long)
    back[given] = torch.arange(len(given))
    return _Tiles(taken, given, back[:-1].clone())


def _starts(length: int, d: int) -> Tensor:
    """Return where tiles of four pixels, d apart, begin on an axis: 4 of each remainder by d, and again."""
    return torch.cat([torch.arange(start, length, 4 * d) for start in range(min(d, length))])


def _positions(n: int, height: int, width: int, rows: Tensor, columns: Tensor, steps: Tensor) -> Tensor:
    """Return each tile's pixels in images, (steps, steps, N, rows, columns) flat; outside, the one of zeros."""
    y = (steps[:, None] + rows)[:, None, None, :, None]
    x = (steps[:, None] + columns)[None, :, None, None, :]
    image = torch.arange(n)[:, None, None]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return torch.where(inside, (image * height + y) * width + x, n * height * width).flatten()


@functools.lru_cache(maxsize=16)
def _twice(matrix: tuple[tuple[float, ...], ...], dtype: torch.dtype) -> Tensor:
    """Return what a transform of rows does to a whole tile, rows and then columns: (r, c) -> (r r, c c)."""
    one = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one, one).to(dtype)
