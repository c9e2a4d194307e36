"""Nearest class mean: the log-odds of equal spherical Gaussians around the means, which is linear."""

from __future__ import annotations

import numpy as np

from tenshot.automl.heads import Bools, Floats
from tenshot.automl.heads.logistic import ABSENT_LOGIT


def fit(x: Floats, y: Bools, exclusive: bool, strength: float) -> tuple[Floats, Floats]:
    """`strength` scales the variance of the Gaussians; 1 is the mean squared distance to the own mean."""
    rows = [_one(x, y[:, c], exclusive, strength) for c in range(y.shape[1])]
    return np.stack([w for w, _ in rows]), np.array([b for _, b in rows])


def _one(x: Floats, y: Bools, exclusive: bool, strength: float) -> tuple[Floats, float]:
    if not y.any() or (not exclusive and y.all()):
        return np.zeros(x.shape[1]), ABSENT_LOGIT if y.any() else -ABSENT_LOGIT
    centre = x.mean(axis=0)
    own = x[y].mean(axis=0) - centre
    other = np.zeros_like(own) if exclusive else x[~y].mean(axis=0) - centre
    variance = strength * float(np.square(x - centre).sum(axis=1).mean()) + 1e-12
    weight = (own - other) / variance
    bias = -0.5 * (own @ own - other @ other) / variance
    return weight, float(bias - weight @ centre)
