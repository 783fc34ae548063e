"""FDA's amplitude swap against a NumPy transcription of its authors' description, in float64 on pixels of 0 to 255."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from authors import IMG, ONE, OTHER
from torch import Tensor

from cirn_dist.choices import FdaWindow
from cirn_dist.stages.translate.fda import swap_amplitude

Array = npt.NDArray[np.float64]


def np_fda(source: Array, target: Array, beta: float) -> Array:
    """Swap the amplitudes of a centred square of 2b + 1 shifted frequencies; pixels (3, H, W) in 0 to 255."""
    out = np.empty_like(source)
    height, width = source.shape[1:]
    b, y, x = int(np.floor(min(height, width) * beta)), height // 2, width // 2
    square = slice(y - b, y + b + 1), slice(x - b, x + b + 1)
    for channel in range(3):
        f = np.fft.fftshift(np.fft.fft2(source[channel]))
        other = np.fft.fftshift(np.fft.fft2(target[channel]))
        amplitude, phase = np.abs(f), np.angle(f)
        amplitude[square] = np.abs(other)[square]
        out[channel] = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * phase))).real
    return np.clip(out, 0, 255)


def np_half_spectrum(source: Array, target: Array, beta: float, window: FdaWindow) -> Array:
    """Swap what either window swaps of the half spectrum, pixel range and all as they come; (3, H, W) in 0 to 255."""
    size = source.shape[1:]
    half, other, reach = np.fft.rfft2(source), np.fft.rfft2(target), int(min(size) * beta)
    rows, columns = np.arange(size[0])[:, None], np.arange(half.shape[2])
    signed = np.where(rows > size[0] // 2, rows - size[0], rows)
    chosen = (abs(signed) <= reach) & (columns <= reach)
    if window == "authors":
        chosen = (signed >= -reach) & (signed < reach) & (columns < reach) & ~((signed == -reach) & (columns == 0))
    mixed = np.where(chosen, np.abs(other) * np.exp(1j * np.angle(half)), half)
    return np.fft.irfft2(mixed, s=size)


def images(seed: int, *size: int, dark: float = 0.0) -> Tensor:
    """Random images with structure at every scale, (2, 3, H, W) in [-1, 1]."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.nn.functional.interpolate(torch.rand(2, 3, 4, 5, generator=random), size, mode="bilinear")
    return (coarse * 1.2 + 0.4 * torch.rand(2, 3, *size, generator=random) - 0.8 - dark).clamp(-1, 1)


@pytest.mark.parametrize("size", [(24, 32), (25, 31), (40, 24)])
@pytest.mark.parametrize("beta", [0.0, 0.05, 0.13])
def test_it_is_fda(size: tuple[int, int], beta: float) -> None:
    source, target = images(1, *size), images(2, *size, dark=0.3)
    found = swap_amplitude(source, target, beta)
    for one, s, t in zip(found, source, target, strict=True):
        expected = np_fda(*(127.5 * (x.numpy().astype(np.float64) + 1) for x in (s, t)), beta)
        np.testing.assert_allclose(127.5 * (one.numpy() + 1), expected, atol=0.02)


def test_at_beta_0_only_the_mean_colour_moves() -> None:
    source, target = images(1, 24, 32) * 0.3, images(2, 24, 32) * 0.3 - 0.2
    found = swap_amplitude(source, target, 0.0)
    torch.testing.assert_close(found.mean((2, 3)), target.mean((2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(found - found.mean((2, 3), keepdim=True), source - source.mean((2, 3), keepdim=True))


def test_an_image_with_its_own_amplitudes_is_itself_and_the_input_stays() -> None:
    source = images(3, 24, 32)
    kept = source.clone()
    torch.testing.assert_close(swap_amplitude(source, source, 0.2), source, atol=1e-5, rtol=0)
    assert torch.equal(source, kept)


@pytest.mark.parametrize(
    ("size", "beta", "window", "value"),
    [((24, 32), 0.1, "symmetric", 162.427818611), ((25, 31), 0.09, "symmetric", 164.393499114),
     ((24, 32), 0.1, "authors", 195.164074877), ((25, 31), 0.09, "authors", 197.799870015)],
)  # fmt: skip
def test_both_windows_are_the_authors(size: tuple[int, int], beta: float, window: FdaWindow, value: float) -> None:
    """One pixel of the authors' own functions: their demonstration in NumPy, and their training's on torch 1.7."""
    source, target = IMG(*size, ONE).numpy(), IMG(*size, OTHER).numpy()
    ours = [torch.from_numpy(pixels / 127.5 - 1)[None] for pixels in (source, target)]
    found = 127.5 * (swap_amplitude(*ours, beta, window)[0].numpy() + 1)
    assert found[1, 2, 3] == pytest.approx(value, abs=2e-3)
    expected = np_half_spectrum(source, target, beta, window)
    np.testing.assert_allclose(found, expected.clip(0, 255), atol=0.02)
    free = 127.5 * (swap_amplitude(*ours, beta, window, clip=False)[0].numpy() + 1)
    np.testing.assert_allclose(free, expected, atol=0.02)
    assert window == "symmetric" or expected.max() > 255, "what is not clipped would be"


@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_the_authors_window_of_a_row_or_less(beta: float) -> None:
    source, target = images(1, 24, 32) * 0.3, images(2, 24, 32) * 0.3 - 0.2
    found = swap_amplitude(source, target, beta, "authors")
    mean = (target if beta else source).mean((2, 3))  # at b = 1 the mean colour alone, at 0 nothing
    torch.testing.assert_close(found.mean((2, 3)), mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found - found.mean((2, 3), keepdim=True), source - source.mean((2, 3), keepdim=True), atol=1e-5, rtol=0
    )
