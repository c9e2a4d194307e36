"""Ridge regression on ±1 targets, each label's positives and negatives weighing the same."""

from __future__ import annotations

import numpy as np

from tenshot.automl.heads import Bools, Floats, Layer

SCALE = 4.0
"""A regression value of 1 becomes this logit; the calibration sets the real scale afterwards."""


def fit(x: Floats, y: Bools, exclusive: bool, strength: float) -> list[Layer]:
    """`strength` 1 is a ridge of the mean squared length of a row."""
    del exclusive  # the labels are regressed one by one either way
    ridge = strength * float(np.square(x).sum(axis=1).mean()) + 1e-12
    rows = [_one(x, y[:, c], ridge) for c in range(y.shape[1])]
    return [(SCALE * np.stack([w for w, _ in rows]), SCALE * np.array([b for _, b in rows]))]


def _one(x: Floats, y: Bools, ridge: float) -> tuple[Floats, float]:
    positives = max(1, int(y.sum()))
    negatives = max(1, int((~y).sum()))
    sample = np.where(y, 0.5 / positives, 0.5 / negatives) * len(y)
    target = np.where(y, 1.0, -1.0)
    mean_x, mean_t = np.average(x, axis=0, weights=sample), np.average(target, weights=sample)
    centred = (x - mean_x) * np.sqrt(sample)[:, None]
    gram = centred.T @ centred + ridge * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, centred.T @ ((target - mean_t) * np.sqrt(sample)))
    return weight, float(mean_t - weight @ mean_x)
