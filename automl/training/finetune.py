"""Training the last stages of a backbone together with its head.

Every step sees images that are augmented anew. The stages before `start` stay frozen and run in OpenVINO, which takes
a fifth of the time that torch needs for them; only the rest is differentiated. Batch norms keep their pretrained
statistics: ten images give none worth having. A head may be fitted to the frozen features first (LP-FT: Kumar et al.,
"Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022).
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from tenshot.automl.bundle import Input
from tenshot.automl.heads import Bools
from tenshot.automl.networks import Classifier
from tenshot.automl.predictor import RGB
from tenshot.automl.views import Augmentation, augmenter

BATCH = 16
WARM_UP = 0.1
"""Share of the steps over which the step size rises: AdamW's first steps have full size in every direction."""
WEIGHT_DECAY = 0.05
LEAST_EPOCHS = 5
"""Of large sets, whatever number of steps was asked for: each image should be seen a few times."""
EMA_DECAY = 0.98

Stem = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""[N, 3, H, W] → [N, c, h, w]: what the first trained stage sees."""


@dataclass(frozen=True)
class Schedule:
    """How to fine-tune. Counted in steps, not epochs: what a network has learned after so many steps depends little on
    whether ten or a hundred images took turns in them."""

    start: int
    """First stage that is trained."""
    size: int
    """Side of the input, pixels."""
    steps: int
    lr: float
    """AdamW's largest step size, of the head and the last stage."""
    decay: float = 1.0
    """Factor of the step size from one stage to the one before it."""
    flip: str = "none"
    colour: bool = False
    amount: float = 1.0
    smoothing: float = 0.0
    mixup: float = 0.0
    """Alpha of the Beta distribution that two images are mixed by (Zhang et al., ICLR 2018); 0: never."""
    ema: bool = False
    """Keep the running average of the weights instead of the last ones."""
    head: str = "fitted"
    """`fitted` to the frozen features before, or `zero`: every label is equally likely at first."""

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Schedule:
        """From the parameters of a trial; others are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in params.items() if key in known})

    def epochs(self, images: int) -> int:
        return max(LEAST_EPOCHS, math.ceil(self.steps / _batches(images)))

    def steps_for(self, images: int) -> int:
        """Steps that are taken on so many images: whole epochs."""
        return self.epochs(images) * _batches(images)

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(self.flip, self.colour, self.amount)


def _batches(images: int) -> int:
    return max(1, math.ceil(images / BATCH))


@dataclass
class Curve:
    """Mean loss of each epoch."""

    losses: list[float] = field(default_factory=list)


class _Augmented(Dataset[tuple[NDArray[np.float32], Tensor]]):
    """Images [H, W, 3] uint8 of the input's size, another view each time, normalised."""

    def __init__(self, images: Sequence[RGB], targets: Tensor, spec: Input, change: Callable[[RGB], RGB]) -> None:
        self.images, self.targets, self.change = images, targets, change
        self.scale = 1 / (255.0 * np.array(spec.std, np.float32))
        self.shift = np.array(spec.mean, np.float32) / np.array(spec.std, np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], Tensor]:
        changed = self.change(self.images[index]).astype(np.float32)
        normal = np.asarray(changed * self.scale - self.shift, np.float32).transpose(2, 0, 1)
        return normal, self.targets[index]


class _Collate:
    """Images of a batch, mixed if so wished, through the frozen stages."""

    def __init__(self, stem: Stem, mixup: float, seed: int) -> None:
        self.stem, self.mixup = stem, mixup
        self.random = np.random.default_rng(seed)

    def __call__(self, rows: Sequence[tuple[NDArray[np.float32], Tensor]]) -> tuple[Tensor, Tensor]:
        images, targets = np.stack([image for image, _ in rows]), torch.stack([target for _, target in rows])
        if self.mixup:
            share, order = float(self.random.beta(self.mixup, self.mixup)), self.random.permutation(len(rows))
            images = share * images + (1 - share) * images[order]
            targets = share * targets + (1 - share) * targets[torch.from_numpy(order)]
        return channels_last(torch.from_numpy(self.stem(images.astype(np.float32)))), targets


class Tail(pl.LightningModule):
    """Stages from `start` on, and the head."""

    def __init__(self, network: Classifier, schedule: Schedule, steps: int, exclusive: bool) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.steps = steps
        self.exclusive = exclusive
        self.curve = Curve()
        self._losses: list[float] = []
        self.network.requires_grad_(True)
        for stage in list(network.stages)[: schedule.start]:
            stage.requires_grad_(False)
        self._average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY)) if schedule.ema else None

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        maps, targets = batch
        logits, smoothing = self.network(maps, start=self.schedule.start), self.schedule.smoothing
        if self.exclusive:
            loss = nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        else:
            soft = targets * (1 - smoothing) + smoothing / 2
            loss = nn.functional.binary_cross_entropy_with_logits(logits, soft)
        self._losses.append(float(loss.detach()))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if self._average is not None:
            self._average.update_parameters(self.network)

    def on_train_epoch_start(self) -> None:
        self.network.eval()  # freezes batch norm and dropout; gradients flow all the same

    def on_train_epoch_end(self) -> None:
        self.curve.losses.append(float(np.mean(self._losses)))
        self._losses.clear()

    def on_train_end(self) -> None:
        if self._average is not None:
            self.network.load_state_dict(self._average.module.state_dict())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self._groups(), lr=self.schedule.lr, weight_decay=WEIGHT_DECAY)
        shares = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step_share(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": shares, "interval": "step"}}

    def _groups(self) -> list[dict[str, Any]]:
        stages, last = list(self.network.stages), len(self.network.stages) - 1
        rows: list[dict[str, Any]] = [
            {"params": list(stages[i].parameters()), "lr": self.schedule.lr * self.schedule.decay ** (last - i)}
            for i in range(self.schedule.start, last + 1)
        ]
        return [*rows, {"params": list(self.network.head.parameters()), "lr": self.schedule.lr}]


def step_share(step: int, steps: int) -> float:
    """Of the full step size, at step 0, 1, … of `steps`: a straight rise, then half a cosine down."""
    warm = max(1.0, WARM_UP * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warm) / max(1.0, steps - warm))))


class _Watch(pl.Callback):
    """Asks after every step whether to go on."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check

    def on_train_batch_end(self, *_: Any) -> None:
        self.check()


def train_tail(
    network: Classifier, stem: Stem, images: Sequence[RGB], truth: Bools, *, spec: Input, schedule: Schedule,
    exclusive: bool, seed: int, check: Callable[[], None], epochs: int = 0,
) -> Curve:  # fmt: skip
    """Train `network` in place on images [H, W, 3] of the input's size and truth [N, C].

    stem: the stages before `schedule.start`. epochs: instead of the schedule's, for measuring what an epoch takes.
    The same seed gives the same weights.
    """
    targets = torch.from_numpy(truth.astype(np.float32))
    change = augmenter(schedule.augmentation, seed)
    data = _Augmented(images, targets, spec, change)
    generator = torch.Generator().manual_seed(seed)
    passes = epochs or schedule.epochs(len(data))
    tail = Tail(network.to(memory_format=torch.channels_last), schedule, passes * _batches(len(data)), exclusive)
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")  # Lightning's advice about workers and GPUs has no addressee here
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        torch.manual_seed(seed)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=passes,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[_Watch(check)],
        )
        collate = _Collate(stem, schedule.mixup, seed)
        trainer.fit(tail, DataLoader(data, batch_size=BATCH, shuffle=True, generator=generator, collate_fn=collate))
    network.eval()
    return tail.curve


def tail_logits(network: Classifier, stem: Stem, inputs: NDArray[np.float32], start: int) -> NDArray[np.float64]:
    """[N, C] of normalised images [N, 3, H, W]."""
    with torch.inference_mode():
        return np.asarray(network(channels_last(torch.from_numpy(stem(inputs))), start=start).double())


def channels_last(maps: Tensor) -> Tensor:
    """The layout in which a CPU convolves and differentiates depthwise convolutions fastest (measured: 1.4 times)."""
    return maps.contiguous(memory_format=torch.channels_last)
