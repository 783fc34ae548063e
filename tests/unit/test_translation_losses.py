"""Stage 1's two passes: every term on the right images, both players' settings, and the frozen net of L_sem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stagerun import stage_run
from torch import Tensor

from cirn_dist.config.groups.translate import Translate
from cirn_dist.errors import CheckpointError
from cirn_dist.models.backbones import build_backbone
from cirn_dist.models.deeplab import Segmenter
from cirn_dist.stages.segmenter import build_segmenter, finished_segmenter
from cirn_dist.stages.translate.players import gan_players
from cirn_dist.stages.translate.train import discriminator_loss, generator_losses, semantic_loss

# Networks that NumPy has too: x -> a x + b, and a patch logit of each 2x2 pixels.
NETWORKS = {"generator_s2t": (0.7, 0.2), "generator_t2s": (1.2, -0.1), "discriminator_s": (0.9, 0.1),
            "discriminator_t": (-1.1, 0.4)}  # fmt: skip


def call(component: str, images: Tensor) -> Tensor:
    a, b = NETWORKS[component]
    mapped = a * images + b
    return mapped if component.startswith("generator") else mapped.mean(1)[:, ::2, ::2]


def np_call(component: str, x: np.ndarray) -> np.ndarray:
    a, b = NETWORKS[component]
    return a * x + b if component.startswith("generator") else (a * x + b).mean(axis=1)[:, ::2, ::2]


def images(seed: int) -> Tensor:
    return torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def np_gan(logits: np.ndarray, real: float, kind: str) -> float:
    if kind == "lsgan":
        return float(np.mean((logits - real) ** 2))
    p = 1 / (1 + np.exp(-logits))
    return float(np.mean(-np.log(p if real else 1 - p)))


@pytest.mark.parametrize("kind", ["lsgan", "vanilla"])
def test_every_term_is_that_of_eqs_1_to_3(kind: Any) -> None:
    settings = Translate(gan=kind, lambda_cyc=10, lambda_identity=0.5)
    x_s, x_t = images(1), images(2)
    made, paid = generator_losses(call, call, x_s, x_t, settings)
    terms = {name: value.item() for name, value in paid.items()}

    s, t = x_s.numpy().astype(np.float64), x_t.numpy().astype(np.float64)
    g, f = (lambda x: np_call("generator_s2t", x)), (lambda x: np_call("generator_t2s", x))
    expected = {
        "gan_s2t": np_gan(np_call("discriminator_t", g(s)), 1, kind),
        "gan_t2s": np_gan(np_call("discriminator_s", f(t)), 1, kind),
        "cycle_s": 10 * np.abs(f(g(s)) - s).mean(),
        "cycle_t": 10 * np.abs(g(f(t)) - t).mean(),
        "identity_s": 0.5 * np.abs(f(s) - s).mean(),
        "identity_t": 0.5 * np.abs(g(t) - t).mean(),
    }
    assert terms == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(made.fake_t.numpy(), g(s), atol=1e-6)
    np.testing.assert_allclose(made.fake_s.numpy(), f(t), atol=1e-6)
    np.testing.assert_allclose(made.back_s.numpy(), f(g(s)), atol=1e-6)
    np.testing.assert_allclose(made.back_t.numpy(), g(f(t)), atol=1e-6)
    assert made.real_s is x_s
    assert made.real_t is x_t
    none = generator_losses(call, call, x_s, x_t, Translate(gan=kind))[1]
    assert set(none) == {"gan_s2t", "gan_t2s", "cycle_s", "cycle_t"}, "no identity term unless asked for"

    shown = {"source": images(3), "target": images(4)}  # what the pools gave out
    for domain, images_, real in (("source", x_s, s), ("target", x_t, t)):
        d = f"discriminator_{domain[0]}"
        fake = shown[domain].numpy().astype(np.float64)
        half = 0.5 * (np_gan(np_call(d, real), 1, kind) + np_gan(np_call(d, fake), 0, kind))
        found = discriminator_loss(call, d, images_, shown[domain], settings)
        assert found.item() == pytest.approx(half, rel=1e-5)


def test_two_players_with_adam_constant_then_linear(tmp_path: Path) -> None:
    run = stage_run(tmp_path, "translate.iterations=1000", "translate.pool=50")
    players = gan_players(run)
    assert {name: set(player.networks) for name, player in players.items()} == {
        "generators": {"generator_s2t", "generator_t2s"},
        "discriminators": {"discriminator_s", "discriminator_t"},
    }
    for player in players.values():
        assert isinstance(player.optimizer, torch.optim.Adam)
        assert player.optimizer.defaults["betas"] == (0.5, 0.999)
        assert player.optimizer.defaults["weight_decay"] == 0
        rates = [player.set_rate(i) for i in (0, 499, 500, 750, 900, 999)]
        assert rates == pytest.approx([2e-4, 2e-4, 2e-4, 1e-4, 4e-5, 4e-7])


@pytest.fixture(scope="module")
def frozen_net() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(build_backbone("resnet18"), 5).eval().requires_grad_(False)


@pytest.mark.parametrize("target", ["ground_truth", "argmax", "logits"])
def test_the_frozen_net_gives_the_image_a_gradient_and_takes_none(frozen_net: Segmenter, target: Any) -> None:
    fake = images(1).requires_grad_()
    labels = torch.randint(0, 5, (2, 6, 8), generator=torch.Generator().manual_seed(0))
    source = images(2).requires_grad_()
    before = [buffer.clone() for buffer in frozen_net.buffers()]
    semantic_loss(frozen_net, {"image": source, "label": labels}, fake, Translate(semantic_target=target)).backward()
    assert fake.grad is not None
    assert fake.grad.abs().max() > 0
    assert source.grad is None, "what the net says before translation is a constant"
    assert all(p.grad is None for p in frozen_net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, frozen_net.buffers(), strict=True)), "its statistics stay"


def test_ignored_pixels_pull_on_nothing(frozen_net: Segmenter) -> None:
    fake = images(1).requires_grad_()
    labels = torch.full((2, 6, 8), 255)
    labels[1, 2, 3] = 4
    semantic_loss(frozen_net, {"image": fake, "label": labels}, fake, Translate()).backward()
    assert fake.grad is not None
    assert fake.grad[0].abs().max() == 0
    assert fake.grad[1].abs().max() > 0


def test_the_frozen_net_sees_its_own_normalisation_and_computes_under_autocast(frozen_net: Segmenter) -> None:
    seen: list[Tensor] = []
    made: list[torch.dtype] = []
    first = next(frozen_net.backbone.children())
    hooks = [first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach())),
             first.register_forward_hook(lambda *arguments: made.append(arguments[2].dtype))]  # fmt: skip
    fake = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(5)) * 2 - 1
    source = {"image": fake, "label": torch.zeros(1, 40, 40, dtype=torch.long)}
    with torch.autocast("cpu", torch.bfloat16):
        loss = semantic_loss(frozen_net, source, fake, Translate())
    for hook in hooks:
        hook.remove()
    mean, std = (np.array(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = ((fake.numpy()[0].astype(np.float64) + 1) / 2 - mean) / std
    np.testing.assert_allclose(seen[0][0].numpy(), expected, atol=1e-5)
    assert made == [torch.bfloat16]
    assert loss.dtype == torch.float32


def test_a_source_net_of_other_classes_is_refused(tmp_path: Path) -> None:
    run = stage_run(tmp_path)
    state = {"stage": "source", "finished": True, "label_space": "cityscapes19"}
    run.store("source").save(1, {"segmenter": build_segmenter(run, with_acm=False).state_dict()}, state)
    with pytest.raises(CheckpointError, match="was trained on cityscapes19, this run is on camvid11"):
        finished_segmenter(run, "source")
