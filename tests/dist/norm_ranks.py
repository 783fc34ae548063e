"""What each rank of test_norm.py does: batch norms over a shared batch, compared with one process."""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cirn_dist.models.norm import PortableSyncBatchNorm, average_running_stats, convert, reestimate_statistics


def net() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))
    nn.init.uniform_(model[1].weight)
    return model.double()


def images(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 9, 8, generator=generator, dtype=torch.float64) * 2 + 30


def share(count: int) -> slice:
    """Ranks take 1, 2, 3, ... images, the last one the rest: no two the same number."""
    rank = dist.get_rank()
    start = rank * (rank + 1) // 2
    return slice(start, count if rank == dist.get_world_size() - 1 else start + rank + 1)


def check_training_step(momentum: float | None) -> None:
    """Forward, input and parameter gradients, and running statistics equal BatchNorm on the whole batch."""
    whole, ours = net(), convert(net(), "sync")
    for norm in (whole[1], whole[4], ours[1], ours[4]):
        norm.momentum = momentum
    assert type(ours[1]) is PortableSyncBatchNorm
    weights = torch.randn(12, 2, 7, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mine = share(12)
    for _ in range(3):
        x, part = images(12).requires_grad_(), images(12)[mine].requires_grad_()
        expected, got = whole(x), ours(part)
        torch.testing.assert_close(got, expected[mine], rtol=1e-9, atol=1e-9)
        whole.zero_grad()
        ours.zero_grad()
        (expected * weights).sum().backward()
        (got * weights[mine]).sum().backward()
        torch.testing.assert_close(part.grad, x.grad[mine], rtol=1e-9, atol=1e-9)
        for p, q in zip(whole.parameters(), ours.parameters(), strict=True):
            total = q.grad.clone()
            dist.all_reduce(total)
            torch.testing.assert_close(total, p.grad, rtol=1e-9, atol=1e-9)
    for p, q in zip(whole.buffers(), ours.buffers(), strict=True):
        torch.testing.assert_close(q, p, rtol=1e-9, atol=1e-9)
        assert not q.requires_grad, "a statistic that kept the graph of every step it has seen"


def check_average() -> None:
    """Ranks that saw different batches end with the mean of their running statistics."""
    model = net()
    model(images(12)[share(12)])
    each = [torch.empty_like(model[1].running_var) for _ in range(dist.get_world_size())]
    dist.all_gather(each, model[1].running_var)
    assert not torch.equal(each[0], each[1])
    average_running_stats(model)
    torch.testing.assert_close(model[1].running_var, torch.stack(each).mean(0))


def check_reestimation() -> None:
    """Batches dealt out to ranks, not equally many, give what one process gets from all of them."""
    batches = list(images(14).split(2))
    world, rank = dist.get_world_size(), dist.get_rank()
    ours = reestimate_statistics(convert(net(), "sync"), batches[rank::world] if rank else batches[::world])
    expected = [torch.empty(0)]
    if rank == 0:
        norms = _alone(batches)
        expected = [norms[1].running_mean, norms[1].running_var, norms[4].running_mean, norms[4].running_var]
        got = [ours[1].running_mean, ours[1].running_var, ours[4].running_mean, ours[4].running_var]
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    nobody = reestimate_statistics(convert(net(), "sync"), batches[:1] if rank == 0 else [])
    assert torch.isfinite(nobody[4].running_var).all()


def _alone(batches: list[Tensor]) -> nn.Module:
    """The same in NumPy's way: pooled moments of each norm's input, batch by batch."""
    model = net()
    model.train()
    inputs: dict[int, list[Tensor]] = {1: [], 4: []}
    for i, seen in inputs.items():
        model[i].register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0].detach()))
    for batch in batches:
        model(batch)
    for i, seen in inputs.items():
        pixels = torch.cat(seen).transpose(0, 1).flatten(1)
        model[i].running_mean.copy_(pixels.mean(1))
        model[i].running_var.copy_(pixels.var(1))
    return model


def main() -> None:
    """Run every check on the first 2, then on all 4 ranks: starting processes is what takes the time."""
    torch.set_num_threads(1)
    rank, folder = int(sys.argv[1]), sys.argv[2]
    for world in (2, 4):
        if rank >= world:
            continue
        dist.init_process_group("gloo", init_method=f"file://{folder}/{world}", rank=rank, world_size=world)
        check_training_step(0.1)
        check_training_step(None)
        check_average()
        check_reestimation()
        print(f"{world} ranks ok", flush=True)
        dist.barrier()
        if world == 2:
            dist.destroy_process_group()
    os._exit(0)  # gloo's threads can abort a process that leaves by the interpreter's own exit


if __name__ == "__main__":
    main()
