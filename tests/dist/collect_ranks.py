"""What each rank of test_collect_ranks.py does: hands over tensors, and tries to hand one over as an object."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cirn_dist.engine import collect
from cirn_dist.engine.join import join

DTYPES = (torch.float32, torch.uint8, torch.float64, torch.bfloat16, torch.int64)


def of_rank(rank: int) -> dict[str, Tensor]:
    """Tensors of all kinds, more of them on a higher rank and none on rank 1; odd sizes, so that bytes are not aligned."""
    if rank == 1:
        return {}
    generator = torch.Generator().manual_seed(rank)
    found: dict[str, Tensor] = {}
    for number in range(3 + 2 * rank):
        values = 100 * torch.randn(3, 5, 7, generator=generator)
        found[f"{rank}.{number}"] = values.to(DTYPES[number % len(DTYPES)])
    found[f"{rank}.view"] = torch.randn(4, 6, 5, generator=generator).permute(2, 0, 1)[:, 1:, ::2]
    found[f"{rank}.scalar"] = torch.tensor(float(rank))
    found[f"{rank}.empty"] = torch.zeros(0, 3)
    return found


def main() -> None:
    torch.set_num_threads(1)
    runtime = join("fp32")
    expected = {name: tensor for rank in range(runtime.world) for name, tensor in of_rank(rank).items()}
    for buffer in (7 * runtime.world, 64 * 2**20):  # many pieces, one piece
        collect.BUFFER = buffer
        found = runtime.tensors_on_main(of_rank(runtime.rank))
        if not runtime.main:
            assert found is None
            continue
        assert found is not None
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype, name
            assert torch.equal(found[name], tensor), name
    with pytest.raises(TypeError, match="image"):
        runtime.gather({"image": torch.zeros(3)})
    assert runtime.tensors_on_main({}) == ({} if runtime.main else None)
    runtime.barrier()  # no rank was left waiting
    print("ok", flush=True)
    runtime.leave(0)


main()
