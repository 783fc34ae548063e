from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cirn_dist.errors import ConfigError, DataError
from cirn_dist.models.norm import (
    FrozenBatchNorm,
    PortableSyncBatchNorm,
    average_running_stats,
    batch_norms,
    convert,
    freeze_affine,
    reestimate_statistics,
)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.BatchNorm2d(4, momentum=0.3))
    )
    nn.init.uniform_(model[1].weight)
    return model


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 9, 8, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@pytest.mark.parametrize(
    ("mode", "kind"), [("batch", nn.BatchNorm2d), ("frozen", FrozenBatchNorm), ("sync", nn.BatchNorm2d)]
)
def test_convert_replaces_every_norm_and_keeps_its_tensors(mode, kind) -> None:
    model = net().eval()
    before = dict(model.named_parameters())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    convert(model, mode)
    if mode == "sync":
        kind = nn.SyncBatchNorm if torch.cuda.is_available() else PortableSyncBatchNorm
    norms = [model[1], model[3][0]]
    assert all(type(n) is kind and not n.training for n in norms)
    assert (norms[1].momentum, norms[1].eps) == (0.3, 1e-5)
    assert all(p is before[name] for name, p in model.named_parameters())
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_sync_is_native_where_there_is_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, kind in ((True, nn.SyncBatchNorm), (False, PortableSyncBatchNorm)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        assert type(convert(net(), "sync")[1]) is kind


def test_convert_of_a_norm_itself_returns_the_new_one() -> None:
    assert type(convert(nn.BatchNorm2d(3), "frozen")) is FrozenBatchNorm


class BatchNormAct2d(nn.BatchNorm2d):
    """What timm's is: a batch norm whose forward also drops and activates."""

    def __init__(self, channels: int, **options: object) -> None:
        super().__init__(channels, **options)
        self.drop, self.act = nn.Dropout(0.5), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        return self.act(self.drop(x))


BatchNormAct2d.forward.__module__ = "timm.layers.norm_act"


def activated() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4, momentum=0.3, eps=1e-3), nn.Conv2d(4, 2, 1))
    nn.init.uniform_(model[1].weight)
    nn.init.uniform_(model[1].running_mean)
    return model


@pytest.mark.parametrize("mode", ["batch", "frozen", "sync"])
def test_a_norm_that_also_drops_and_activates_does_so_after_conversion(mode, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before, after = activated(), convert(activated(), mode)
    assert list(after.state_dict()) == list(before.state_dict())
    assert (after[1].momentum, after[1].eps) == (0.3, 1e-3)
    after = convert(after, mode)  # as AdaBN does of a network already converted
    x = images(5)
    for train in (False, True):
        before.train(train)
        after.train(train)
        if mode == "frozen":
            before[1].training = False  # its dropout trains on
        torch.manual_seed(1)
        expected = before(x)
        torch.manual_seed(1)
        torch.testing.assert_close(after(x), expected, rtol=0, atol=0)
        torch.testing.assert_close(after[1].running_var, before[1].running_var, rtol=0, atol=0)
    assert [type(norm) for norm in batch_norms(after)] == [type(after[1])]
    assert isinstance(
        after[1], {"batch": nn.BatchNorm2d, "frozen": FrozenBatchNorm, "sync": PortableSyncBatchNorm}[mode]
    )


def test_adabn_of_a_norm_that_activates_keeps_the_activation() -> None:
    model = convert(activated(), "sync").eval()
    plain = nn.Sequential(*model)
    renormalised = reestimate_statistics(plain, [images(4, seed) for seed in range(2)])
    seen = torch.cat([model[0](images(4, seed)) for seed in range(2)]).detach()
    torch.testing.assert_close(renormalised[1].running_mean, seen.mean((0, 2, 3)))
    x = images(3, 7)
    normalised = nn.functional.batch_norm(
        model[0](x), seen.mean((0, 2, 3)), seen.var((0, 2, 3)), model[1].weight, model[1].bias, eps=1e-3
    )
    torch.testing.assert_close(renormalised[:2](x), normalised * normalised.sigmoid())


def test_hooks_of_a_norm_stay() -> None:
    model, seen = net(), []
    model[1].register_forward_hook(lambda *_: seen.append(1))
    convert(model, "frozen")(images(2))
    assert seen == [1]


class Halved(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


class BatchNormAct2dOfOthers(BatchNormAct2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (Halved(3), r"Halved: its own forward would be lost"),
        (BatchNormAct2dOfOthers(3), r"BatchNormAct2dOfOthers: its own forward would be lost"),
        (nn.BatchNorm1d(3), r"torch\.nn\.modules\.batchnorm\.BatchNorm1d: it normalises no images"),
        (nn.BatchNorm3d(3), r"BatchNorm3d: it normalises no images"),
    ],
)
@pytest.mark.parametrize("mode", ["batch", "frozen", "sync"])
def test_a_norm_that_would_become_another_is_refused_by_name(norm, reason, mode) -> None:
    with pytest.raises(ConfigError, match=reason):
        convert(nn.Sequential(nn.Conv2d(3, 3, 1), norm), mode)


def test_frozen_uses_and_keeps_running_statistics_in_train_mode() -> None:
    model = convert(net(), "frozen")
    model[1].running_mean.fill_(0.7)
    x = images(4)
    expected = model.eval()(x)
    assert torch.equal(model.train()(x), expected)
    assert model[1].running_mean.unique().item() == pytest.approx(0.7)
    assert model[1].num_batches_tracked == 0
    model(x).sum().backward()
    assert model[1].bias.grad is not None


def test_freeze_affine_stops_norms_and_nothing_else() -> None:
    model = net()
    freeze_affine(model)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["0.weight", "0.bias"]


def test_portable_sync_on_one_process_is_batch_norm() -> None:
    plain, portable = nn.BatchNorm2d(3), PortableSyncBatchNorm(3)
    x = images(4)
    assert torch.equal(plain(x), portable(x))
    assert torch.equal(plain.running_var, portable.running_var)
    assert torch.equal(plain.eval()(x), portable.eval()(x))


def test_one_process_has_nothing_to_average() -> None:
    model = net()
    model(images(4))
    before = model[1].running_mean.clone()
    average_running_stats(model)
    assert torch.equal(model[1].running_mean, before)


def test_reestimated_statistics_are_those_of_all_pixels() -> None:
    model = net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = images(12)
    adapted = reestimate_statistics(model, [x])
    features = nn.functional.conv2d(x.double(), model[0].weight.double(), model[0].bias.double()).detach().numpy()
    np.testing.assert_allclose(adapted[1].running_mean, features.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(adapted[1].running_var, features.var((0, 2, 3), ddof=1), rtol=1e-5)
    # The second norm sees what the first one makes with these statistics.
    first = adapted[2](adapted[1](adapted[0](x))).detach().double().numpy()
    np.testing.assert_allclose(adapted[3][0].running_mean, first.mean((0, 2, 3)), rtol=1e-3)
    assert not any(module.training for module in adapted.modules())
    assert model.training
    assert model[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("split", [(12,), (4, 4, 4), (1, 11), (1,) * 12])
def test_reestimation_counts_every_pixel_once_however_batches_are_cut(split) -> None:
    x = images(12)
    adapted = reestimate_statistics(net(), x.split(split))
    whole = reestimate_statistics(net(), [x])
    torch.testing.assert_close(adapted[1].running_mean, whole[1].running_mean)
    torch.testing.assert_close(adapted[1].running_var, whole[1].running_var)


def test_reestimation_does_not_depend_on_the_order_and_covers_frozen_norms() -> None:
    batches = list(images(12).split(4))
    forth, back = (reestimate_statistics(convert(net(), "frozen"), b) for b in (batches, batches[::-1]))
    for name, tensor in forth.state_dict().items():
        torch.testing.assert_close(tensor, back.state_dict()[name])
    plain = reestimate_statistics(net(), batches)
    assert torch.equal(plain[3][0].running_var, forth[3][0].running_var)


def test_reestimation_from_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no images"):
        reestimate_statistics(net(), [])
