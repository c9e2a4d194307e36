"""Candidates of the second kind: the last stages of the backbone, trained with a head that was fitted first."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tenshot.automl.networks import Classifier
from tenshot.automl.search.folds import Fold
from tenshot.automl.training.finetune import BATCH, Curve, Schedule, stem_maps, tail_logits, train_tail

if TYPE_CHECKING:
    from torch import Tensor

    from tenshot.automl.features import Picture
    from tenshot.automl.heads import Floats
    from tenshot.automl.search.frozen import Frozen

STEM_BYTES = 1_500_000_000
"""Most memory for the frozen stages' output."""
SAFETY = 1.15


class Tuning:
    """Scores and fits fine-tuned networks that start from the frozen winner's backbone, policy and head."""

    def __init__(self, frozen: Frozen, params: dict[str, Any], folds: Sequence[Fold], seed: int) -> None:
        self.frozen = frozen
        self.params = params
        self.folds = folds
        self.seed = seed
        self.extractor = frozen.extractor(params["backbone"])
        self._maps: dict[int, Tensor] = {}
        self._pace: dict[int, tuple[float, float]] = {}
        """Stage → seconds of a step, seconds of an image's maps."""

    def estimate(self, params: dict[str, Any]) -> float:
        """Seconds for scoring these parameters on all folds and fitting them on all images."""
        start = params["start"]
        step_s, image_s = self._measured(start)
        images = len(self.frozen.data.pictures)
        schedule = _schedule(params)
        steps = sum(schedule.steps(len(train)) for train, _ in self.folds) + schedule.steps(images)
        # Another start may come in between, and then the final fit needs the maps once more.
        maps_s = images * image_s * (1 if start in self._maps else 2)
        return SAFETY * (step_s * steps + maps_s)

    def fits_memory(self, starts: Sequence[int]) -> bool:
        """Whether the maps of one view of every image do, at any of these stages."""
        return all(self._views_that_fit(start) >= 1 for start in starts)

    def out_of_fold(self, params: dict[str, Any]) -> Floats:
        """[N, C]"""
        truth, logits = self.frozen.data.truth, np.zeros(self.frozen.data.truth.shape)
        maps = self._maps_for(params["start"])
        for number, (train, held) in enumerate(self.folds):
            network = self._fresh(train)
            self._train(network, maps[torch.from_numpy(train)], truth[train], params, self.seed + number)
            logits[held] = tail_logits(network, maps[torch.from_numpy(held), 0], params["start"])
        return logits

    def final(self, params: dict[str, Any]) -> tuple[Classifier, Curve]:
        everything = np.arange(len(self.frozen.data.pictures))
        network = self._fresh(everything)
        curve = self._train(network, self._maps_for(params["start"]), self.frozen.data.truth, params, self.seed)
        return network, curve

    def _train(self, network: Classifier, maps: Tensor, truth: Any, params: dict[str, Any], seed: int) -> Curve:
        return train_tail(
            network,
            maps,
            truth,
            start=params["start"],
            schedule=_schedule(params),
            exclusive=self.frozen.data.exclusive,
            seed=seed,
            check=self.frozen.check,
        )

    def _fresh(self, train: Any) -> Classifier:
        head = self.frozen.fit_on(self.params, train)
        weight, bias = torch.from_numpy(head.weight).float(), torch.from_numpy(head.bias).float()
        return Classifier(self.extractor.backbone(), [int(self.params["taps"])], weight, bias)

    def _maps_for(self, start: int) -> Tensor:
        if start not in self._maps:
            self._maps = {}  # one start at a time: they are the largest thing in memory
            self._maps[start] = self._stem(start, self.frozen.data.pictures)
        return self._maps[start]

    def _stem(self, start: int, pictures: Sequence[Picture]) -> Tensor:
        policy, data = self.params["policy"], self.frozen.data
        views = 1 if policy == "plain" else max(1, min(data.views, self._views_that_fit(start)))
        backbone, spec = self.extractor.backbone(), self.extractor.spec
        return stem_maps(backbone, start, pictures, spec, policy, views, self.frozen.check)

    def _views_that_fit(self, start: int) -> int:
        with torch.inference_mode():
            x = torch.zeros(1, 3, self.extractor.spec.height, self.extractor.spec.width)
            for stage in list(self.extractor.backbone().stages)[:start]:
                x = stage(x)
        return int(STEM_BYTES // (x.numel() * 4 * len(self.frozen.data.pictures)))

    def _measured(self, start: int) -> tuple[float, float]:
        """On one image and a throw-away network, before the maps of all are paid for: once to warm up, once timed."""
        if start not in self._pace:
            self._stem(start, self.frozen.data.pictures[:1])
            began = monotonic()
            one = self._stem(start, self.frozen.data.pictures[:1])
            image_s = monotonic() - began
            batch = one[:, :1].expand(BATCH, -1, -1, -1, -1)
            truth = np.repeat(self.frozen.data.truth[:1], BATCH, axis=0)
            probe = {"epochs": 1, "lr": 1e-5, "smoothing": 0.0, "start": start}
            network = self._fresh(np.arange(len(self.frozen.data.pictures)))
            self._train(network, batch, truth, probe, 0)
            began = monotonic()
            self._train(network, batch, truth, probe, 0)
            self._pace[start] = monotonic() - began, image_s
        return self._pace[start]


def _schedule(params: dict[str, Any]) -> Schedule:
    return Schedule(epochs=params["epochs"], lr=params["lr"], smoothing=params["smoothing"])
