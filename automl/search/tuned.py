"""Candidates of the second kind: the last stages of the backbone, trained with a head that was fitted first."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tenshot.automl.networks import Classifier
from tenshot.automl.search.folds import Fold
from tenshot.automl.training.finetune import Curve, Schedule, stem_maps, tail_logits, train_tail

if TYPE_CHECKING:
    from torch import Tensor

    from tenshot.automl.heads import Floats
    from tenshot.automl.search.frozen import Frozen

STEM_BYTES = 1_500_000_000
"""Most memory for the frozen stages' output."""


class Tuning:
    """Scores and fits fine-tuned networks that start from the frozen winner's backbone, policy and head."""

    def __init__(self, frozen: Frozen, params: dict[str, Any], folds: Sequence[Fold], seed: int) -> None:
        self.frozen = frozen
        self.params = params
        self.folds = folds
        self.seed = seed
        self.extractor = frozen.extractor(params["backbone"])
        self._maps: dict[int, Tensor] = {}
        self._step_s: dict[int, float] = {}
        self._longest = 0.0

    def estimate(self, params: dict[str, Any]) -> float:
        """Seconds for scoring these parameters on all folds and fitting them on all images."""
        start = params["start"]
        step = self._step_seconds(start)
        images = len(self.frozen.data.pictures)
        schedule = _schedule(params)
        held = sum(schedule.steps(len(train)) for train, _ in self.folds)
        self._longest = max(self._longest, step * (held + schedule.steps(images)) * 1.15)
        return self._longest

    def longest(self) -> float:
        """Seconds of the longest trial so far, the final fit included: what the next one may take."""
        return self._longest

    def out_of_fold(self, params: dict[str, Any]) -> Floats:
        """[N, C]"""
        self.estimate(params)
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
            backbone, data = self.extractor.backbone(), self.frozen.data
            views = 1 if self.params["policy"] == "plain" else min(data.views, self._views_that_fit(start))
            self._maps[start] = stem_maps(
                backbone, start, data.pictures, self.extractor.spec, self.params["policy"], views, self.frozen.check
            )
        return self._maps[start]

    def _views_that_fit(self, start: int) -> int:
        with torch.inference_mode():
            x = torch.zeros(1, 3, self.extractor.spec.height, self.extractor.spec.width)
            for stage in list(self.extractor.backbone().stages)[:start]:
                x = stage(x)
        return max(1, int(STEM_BYTES // (x.numel() * 4 * len(self.frozen.data.pictures))))

    def _step_seconds(self, start: int) -> float:
        """Measured on a throw-away copy: one warm step, then one timed."""
        if start not in self._step_s:
            maps, truth = self._maps_for(start)[:16], self.frozen.data.truth[:16]
            network = self._fresh(np.arange(len(self.frozen.data.pictures)))
            probe = {"epochs": 1, "lr": 1e-5, "smoothing": 0.0, "start": start}
            self._train(deepcopy(network), maps, truth, probe, 0)
            started = monotonic()
            self._train(deepcopy(network), maps, truth, probe, 0)
            self._step_s[start] = (monotonic() - started) * 16 / len(maps)
        return self._step_s[start]


def _schedule(params: dict[str, Any]) -> Schedule:
    return Schedule(epochs=params["epochs"], lr=params["lr"], smoothing=params["smoothing"])
