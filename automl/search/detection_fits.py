"""Trainings of one detection search. Each of them teaches what a view costs on this machine, as busy as it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tenshot.automl.detectors.examples import Example
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.predictor import RGB, resize
from tenshot.automl.search.detection_budget import Cost
from tenshot.automl.search.detection_problem import Problem

STATISTICS_IMAGES = 32
PROBE_IMAGES = 4
PROBE_EPOCHS = 3
ASKING_S = 0.5
"""Of one held-out image, until it is measured: three sizes, up to 32 suppressions, how sure the detector is."""

OnEpoch = Callable[[int, int], None]
"""epoch (from 1), epochs in all."""


@dataclass(frozen=True)
class Fit:
    detector: Any = field(repr=False)
    recipe: Recipe
    history: tuple[dict[str, float], ...]
    """One row per epoch: epoch and mean losses."""

    @property
    def share(self) -> float:
        """Of the recipe's epochs that the deadline left it, 0…1."""
        return len(self.history) / self.recipe.epochs


@dataclass
class Fits:
    problem: Problem
    check: Callable[[], None]
    cost: Cost
    asking_s: float = ASKING_S
    """Of one held-out image, every way of asking; as the last fold showed."""

    @classmethod
    def probed(cls, problem: Problem, check: Callable[[], None], recipe: Recipe) -> Fits:
        """With the seconds per view of the faster of two epochs on a few images, after one that warms up."""
        few = [e for e in problem.examples if e.boxes][:PROBE_IMAGES]
        images = [_small(e.pixels(), recipe.image_size) for e in few]
        base = problem.family.load_base(problem.weights, problem.labels, images=images, image_size=recipe.image_size)
        at: list[float] = []
        problem.family.train(
            base,
            few,
            recipe.with_(epochs=PROBE_EPOCHS),
            seed=problem.seed,
            threads=problem.threads,
            on_epoch=lambda *_: at.append(time.monotonic()),
            check=check,
        )
        return cls(problem, check, Cost.measured(float(np.diff(at).min()) / len(few), recipe))

    def fit(
        self, recipe: Recipe, examples: Sequence[Example], *, deadline: float, on_epoch: OnEpoch = lambda *_: None
    ) -> Fit:
        """deadline: `time.monotonic()` after which no new epoch begins. Raises TrainingError."""
        problem, rows = self.problem, list[dict[str, float]]()
        images = [_small(e.pixels(), recipe.image_size) for e in examples[:STATISTICS_IMAGES]]
        base = problem.family.load_base(
            problem.weights, problem.labels, images=images, image_size=recipe.image_size, seed=problem.seed
        )

        def ended(epoch: int, epochs: int, losses: dict[str, float]) -> None:
            rows.append({"epoch": float(epoch), **losses})
            on_epoch(epoch, epochs)

        started = time.monotonic()
        detector = problem.family.train(
            base,
            examples,
            recipe,
            seed=problem.seed,
            threads=problem.threads,
            on_epoch=ended,
            check=self.check,
            deadline=deadline,
        )
        self._learn(recipe, len(examples) * len(rows), time.monotonic() - started)
        return Fit(detector, recipe, tuple(rows))

    def _learn(self, recipe: Recipe, views: int, seconds: float) -> None:
        """The last real fit says more than the probe: start-up and a busy machine are in it."""
        if views:
            one = replace(self.cost, view_s=1.0).fit_s(1, recipe.with_(epochs=1))
            self.cost = replace(self.cost, view_s=seconds / (views * one))


def _small(image: RGB, side: int) -> RGB:
    """As it will be letterboxed: dozens of photos at their own size would take a gigabyte."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    return resize(image, width, height)
