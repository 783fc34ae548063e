from __future__ import annotations

import numpy as np

from cirn_dist.data.streets import render


def test_same_arguments_same_bytes() -> None:
    first, again = render(3, 7, 96, 72), render(3, 7, 96, 72)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
