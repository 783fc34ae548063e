"""What ranks exchange as objects holds no tensor, on one rank as on many; tensors over ranks see tests/dist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from cirn_dist.engine.join import join
from cirn_dist.engine.runtime import Runtime


@dataclass(frozen=True)
class Found:
    name: str
    values: object


@pytest.fixture
def runtime() -> Runtime:
    return join("fp32")


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (lambda: {"source.3.0": torch.zeros(3, 4)}, r"source\.3\.0, \(3, 4\) torch\.float32 on cpu"),
        (lambda: [Found("pool", (1, {"images": torch.zeros(2, dtype=torch.int64)}))], r"images, \(2,\) torch\.int64"),
        (lambda: nn.Linear(2, 1), r"weight, \(1, 2\)"),
        (lambda: torch.zeros(1), r"unnamed, \(1,\)"),
    ],
)
def test_an_object_with_a_tensor_in_it_is_refused_by_the_tensors_name(
    item: Callable[[], object], told: str, runtime: Runtime
) -> None:
    for exchange in (lambda: runtime.gather(item()), lambda: runtime.on_main(item)):
        with pytest.raises(TypeError, match=f"objects that ranks exchange: {told}.*tensors_on_main"):
            exchange()


def test_what_holds_none_passes(runtime: Runtime) -> None:
    item = [Found("counts", np.arange(3)), {"a": None, "b": (1.5, "two")}]
    (back,) = runtime.gather(item)
    assert back is item
    assert runtime.on_main(lambda: item) is item
