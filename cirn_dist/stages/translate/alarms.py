"""Watching stage 1 while it trains: pictures of what it does, and alarms when it collapses or breaks down.

A generator collapses when it answers different images with the same one. Its spread says so: the variance of its
outputs over the latest images (thumbnails, position by position, averaged), relative to that of its inputs. A
translation that only changes the appearance has a spread near the ratio of the domains' own contrasts; 0 is collapse.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cirn_dist.data.loading.images import to_image
from cirn_dist.display.panels import compose, stacked
from cirn_dist.engine.meter import passed_multiple_of
from cirn_dist.engine.run import Run
from cirn_dist.engine.step import Losses
from cirn_dist.files import replace_text
from cirn_dist.rundir.translation import ALARMS, PROGRESS, Alarm, alarms_json, read_alarms

WINDOW = 32  # images the spread is taken over
LEAST_SPREAD = 0.05
GRACE = 0.05  # share of the training in which a generator may still answer everything with grey
_THUMBNAIL = 8
_WAYS = ("s2t", "t2s")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Translations:
    """What the generators were given and what they made of it, each (N, 3, H, W); named by the domain it looks like."""

    real_s: Tensor
    real_t: Tensor
    fake_t: Tensor
    fake_s: Tensor
    back_s: Tensor
    back_t: Tensor

    def there(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return way -> images and their translations."""
        return {"s2t": (self.real_s, self.fake_t), "t2s": (self.real_t, self.fake_s)}


class CollapseMonitor:
    """Looks at every micro-batch of stage 1 after the generators' pass; a `Memory` of the checkpoint."""

    def __init__(self, run: Run) -> None:
        self.run, self.settings = run, run.config.translate
        self.inputs: dict[str, deque[Tensor]] = {way: deque(maxlen=WINDOW) for way in _WAYS}
        self.outputs: dict[str, deque[Tensor]] = {way: deque(maxlen=WINDOW) for way in _WAYS}
        self.broken = {way: torch.zeros((), dtype=torch.bool, device=run.runtime.device) for way in _WAYS}
        self.sounding: set[str] = set()

    def observe(self, ks: Tensor, made: Translations) -> Losses:
        """Take a micro-batch into account, draw and raise alarms where it is time; returns the spreads, to be logged.

        Args:
            ks: the source images' sample counters.
        """
        found: Losses = {}
        for way, (before, after) in made.there().items():
            self.inputs[way].extend(_thumbnails(before))
            thumbnails = _thumbnails(after)
            self.outputs[way].extend(thumbnails)
            self.broken[way] |= ~torch.stack(thumbnails).isfinite().all()
            found[f"spread_{way}"] = spread(self.inputs[way], self.outputs[way])
        step, place = divmod(ks.tolist()[0], self.run.config.engine.images_per_step)
        if place == 0 and self.run.runtime.main:  # rank 0's first micro-batch of the step
            self._look(step + 1, made, {way: found[f"spread_{way}"] for way in _WAYS})
        return found

    def _look(self, step: int, made: Translations, spreads: Losses) -> None:
        engine = self.run.config.engine
        iteration, every = step * engine.images_per_step, self.settings.panel_every
        if every and (
            step == 1
            or iteration >= self.settings.iterations
            or passed_multiple_of(step, every, engine.images_per_step)
        ):
            self.draw(iteration, made)
        if passed_multiple_of(step, engine.log_every, engine.images_per_step):
            self.check(iteration, {way: float(value) for way, value in spreads.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return this rank's windows, and what has been told: a resumed run logs what an undisturbed one does."""
        rank, found = self.run.runtime.rank, dict[str, Tensor]()
        for way in _WAYS:
            if self.inputs[way]:
                found[f"{rank}.inputs.{way}"] = torch.stack([*self.inputs[way]])
                found[f"{rank}.outputs.{way}"] = torch.stack([*self.outputs[way]])
            found[f"{rank}.broken.{way}"] = self.broken[way]
        return found | {f"{rank}.sounding.{kind}": torch.ones(1) for kind in self.sounding}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the windows of the rank of this number; on another number of ranks it has seen other images."""
        prefix = f"{self.run.runtime.rank}."
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        device = self.run.runtime.device
        for way in _WAYS:
            for name, window in (("inputs", self.inputs[way]), ("outputs", self.outputs[way])):
                window.extend(own.get(f"{name}.{way}", torch.empty(0)).to(device).unbind())
            self.broken[way] |= own.get(f"broken.{way}", self.broken[way]).to(device)
        self.sounding = {key.removeprefix("sounding.") for key in own if key.startswith("sounding.")}

    def draw(self, iteration: int, made: Translations) -> None:
        """Keep a picture of a micro-batch's first images: there, and back again, from both domains."""
        rows = []
        for images, titles in (
            ((made.real_s, made.fake_t, made.back_s), ("Source", "Translated", "Reconstructed")),
            ((made.real_t, made.fake_s, made.back_t), ("Target", "Translated back", "Reconstructed")),
        ):
            rows.append(compose([[to_image(one[0].float()) for one in images]], titles))
        picture = stacked(rows)
        folder = self.run.folder / PROGRESS
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{iteration:08d}.png")
        self.run.trackers.image("translation", iteration, picture)

    def check(self, iteration: int, spreads: dict[str, float]) -> None:
        """Raise an alarm where an image was not finite, or a generator collapsed; once, until it is well again."""
        for way, value in spreads.items():
            broken = bool(self.broken[way])
            self.broken[way].zero_()
            full = len(self.outputs[way]) == WINDOW and iteration > GRACE * self.settings.iterations
            name = {"s2t": "source to target", "t2s": "target to source"}[way]
            self._sound(
                iteration, f"non-finite {way}", broken, f"a translation, {name}, held values that are not finite"
            )
            collapsed = full and not broken and value < LEAST_SPREAD
            self._sound(
                iteration, f"collapse {way}", collapsed,
                f"the generator {name} answers different images alike (spread {value:.3f}): it may have collapsed",
            )  # fmt: skip

    def _sound(self, iteration: int, kind: str, wrong: bool, message: str) -> None:
        if not wrong:
            self.sounding.discard(kind)
        elif kind not in self.sounding:
            self.sounding.add(kind)
            _log.warning("translate, iteration %d: %s", iteration, message)
            before = [alarm for alarm in read_alarms(self.run.folder) if alarm.iteration <= iteration]
            new = Alarm(iteration=iteration, kind=kind, message=message)
            kept = [alarm for alarm in before if (alarm.iteration, alarm.kind) != (iteration, kind)]
            replace_text(self.run.folder / ALARMS, alarms_json([*kept, new]))


def spread(inputs: deque[Tensor], outputs: deque[Tensor]) -> Tensor:
    """Return the variance of the outputs over images relative to that of the inputs; 1 for a single image."""
    if len(inputs) < 2:
        return torch.ones((), device=inputs[0].device)
    before, after = (torch.stack([*images]).var(dim=0, correction=0).mean() for images in (inputs, outputs))
    return after / before.clamp_min(1e-8)


def _thumbnails(images: Tensor) -> list[Tensor]:
    return list(F.adaptive_avg_pool2d(images.detach().float(), _THUMBNAIL).unbind())
