"""The endless order of a shard set: a pure function of (seed, k), local to a few shards at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cirn_dist.seeds import permutation

Int64Array = npt.NDArray[np.int64]
_WINDOWS_KEPT = 4  # a step may straddle two windows, and so may the two ends of a prefetch


class Order:
    """Which sample the counter k reads.

    Every epoch permutes the shards, pools `window` of them at a time and permutes the samples of the pool:
    each sample once per epoch, at most `window` tars in use at once, nothing to store, nothing to replay.

    Args:
        shard_sizes: samples per shard.
        seed: names the order.
        window: shards pooled.
    """

    def __init__(self, shard_sizes: Sequence[int], seed: int, window: int = 16) -> None:
        self.seed, self.window = seed, window
        self.sizes = np.asarray(shard_sizes, np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.total = int(self.sizes.sum())
        self._epoch: tuple[int, Int64Array, Int64Array] | None = None
        self._windows: dict[tuple[int, int], Int64Array] = {}

    def index(self, k: int) -> int:
        """Return the sample read at counter k >= 0; a window's first call costs its permutation."""
        epoch, place = divmod(k, self.total)
        shards, ends = self._shards(epoch)
        number = int(np.searchsorted(ends, place, side="right"))
        pooled = self._pool(epoch, number, shards)
        return int(pooled[place - (int(ends[number - 1]) if number else 0)])

    def _shards(self, epoch: int) -> tuple[Int64Array, Int64Array]:
        """Return the epoch's shard order (shards,) and where each of its windows ends (windows,)."""
        if self._epoch is None or self._epoch[0] != epoch:
            shards = permutation(len(self.sizes), self.seed, "shards", epoch)
            ends = np.cumsum(self.sizes[shards])
            last = np.append(np.arange(self.window - 1, len(shards) - 1, self.window), len(shards) - 1)
            self._epoch = epoch, shards, ends[last]
        return self._epoch[1:]

    def _pool(self, epoch: int, number: int, shards: Int64Array) -> Int64Array:
        """Return the samples of an epoch's window, in reading order."""
        if (epoch, number) not in self._windows:
            while len(self._windows) >= _WINDOWS_KEPT:
                del self._windows[next(iter(self._windows))]
            pool = shards[number * self.window : (number + 1) * self.window]
            samples = np.concatenate([np.arange(self.starts[s], self.starts[s] + self.sizes[s]) for s in pool])
            chosen = permutation(len(samples), self.seed, "samples", epoch, number)
            self._windows[epoch, number] = samples[chosen]
        return self._windows[epoch, number]
