"""Training the last stages of a backbone together with a head that was fitted first (LP-FT, Kumar et al., ICLR 2022).

The stages before `start` stay frozen, so their output for every view of every image is computed once; a step then
costs only the last stages. Batch norms keep their pretrained statistics: ten images give none worth having.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tenshot.automl.bundle import Input
from tenshot.automl.features import Picture
from tenshot.automl.heads import Bools
from tenshot.automl.networks import Backbone, Classifier
from tenshot.automl.predictor import prepare
from tenshot.automl.views import view

BATCH = 16
WARM_UP = 0.2
"""Share of the steps over which the step size rises: AdamW's first steps have full size in every direction, and a head
that was fitted before has nothing to gain from them."""
WEIGHT_DECAY = 0.01
STEM_BATCH = 8


@dataclass(frozen=True)
class Schedule:
    epochs: int
    lr: float
    smoothing: float = 0.0

    def steps(self, images: int) -> int:
        return self.epochs * math.ceil(images / BATCH)


@dataclass
class Curve:
    """Mean loss of each epoch."""

    losses: list[float] = field(default_factory=list)


def stem_maps(
    backbone: Backbone, start: int, pictures: Sequence[Picture], spec: Input, policy: str, views: int,
    check: Callable[[], None],
) -> Tensor:  # fmt: skip
    """[N, V, c, h, w]: what stage `start` sees of each view."""
    stem = nn.Sequential(*list(backbone.stages)[:start]).eval()
    maps = torch.empty(0)
    with torch.no_grad():
        for number, picture in enumerate(pictures):
            check()
            image = picture.pixels()
            batch = np.stack([prepare(view(image, picture.id, policy, k), spec) for k in range(views)])
            parts = [stem(torch.from_numpy(batch[i : i + STEM_BATCH])) for i in range(0, views, STEM_BATCH)]
            row = torch.cat(parts)
            if not number:  # once in full: a list of rows and their stack would be twice as much
                maps = torch.empty(len(pictures), *row.shape)
            maps[number] = row
    return maps


class _Views(Dataset[tuple[Tensor, Tensor]]):
    """Each epoch shows every image once, under the next of its views."""

    def __init__(self, maps: Tensor, targets: Tensor) -> None:
        self.maps = maps
        self.targets = targets
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.maps[index, (self.epoch + index) % self.maps.shape[1]], self.targets[index]


class Tail(pl.LightningModule):
    """Stages from `start` on, and the head."""

    def __init__(self, network: Classifier, start: int, schedule: Schedule, steps: int, exclusive: bool) -> None:
        super().__init__()
        self.network = network
        self.start = start
        self.schedule = schedule
        self.steps = steps
        self.exclusive = exclusive
        self.curve = Curve()
        self._losses: list[float] = []
        for stage in list(network.stages)[:start]:
            stage.requires_grad_(False)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        maps, targets = batch
        logits = self.network(maps, start=self.start)
        if self.exclusive:
            loss = nn.functional.cross_entropy(logits, targets, label_smoothing=self.schedule.smoothing)
        else:
            soft = targets * (1 - self.schedule.smoothing) + self.schedule.smoothing / 2
            loss = nn.functional.binary_cross_entropy_with_logits(logits, soft)
        self._losses.append(float(loss.detach()))
        return loss

    def on_train_epoch_start(self) -> None:
        self.network.eval()  # freezes batch norm and dropout; gradients flow all the same

    def on_train_epoch_end(self) -> None:
        self.curve.losses.append(float(np.mean(self._losses)))
        self._losses.clear()

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.schedule.lr, weight_decay=WEIGHT_DECAY)
        shares = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step_share(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": shares, "interval": "step"}}


def step_share(step: int, steps: int) -> float:
    """Of the full step size, at step 0, 1, … of `steps`: a straight rise, then half a cosine down."""
    warm = max(1.0, WARM_UP * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warm) / max(1.0, steps - warm))))


class _Watch(pl.Callback):
    """Turns the views and asks after every step whether to go on."""

    def __init__(self, data: _Views, check: Callable[[], None]) -> None:
        self.data = data
        self.check = check

    def on_train_batch_end(self, *_: Any) -> None:
        self.check()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.data.epoch += 1


def train_tail(
    network: Classifier, maps: Tensor, truth: Bools, *, start: int, schedule: Schedule, exclusive: bool, seed: int,
    check: Callable[[], None],
) -> Curve:  # fmt: skip
    """Train `network` in place on maps [N, V, c, h, w] and truth [N, C]; the same seed gives the same weights."""
    labels = torch.from_numpy(truth.argmax(axis=1)) if exclusive else torch.from_numpy(truth.astype(np.float32))
    data = _Views(maps, labels)
    generator = torch.Generator().manual_seed(seed)
    tail = Tail(network, start, schedule, schedule.steps(len(data)), exclusive)
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # Lightning's advice about workers and GPUs has no addressee here
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        torch.manual_seed(seed)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=schedule.epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[_Watch(data, check)],
        )
        trainer.fit(tail, DataLoader(data, batch_size=BATCH, shuffle=True, generator=generator))
    network.eval()
    return tail.curve


def tail_logits(network: Classifier, maps: Tensor, start: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """[N, C] of maps [N, c, h, w]."""
    with torch.inference_mode():
        parts = [network(maps[i : i + BATCH], start=start) for i in range(0, len(maps), BATCH)]
    return np.asarray(torch.cat(parts).double())
