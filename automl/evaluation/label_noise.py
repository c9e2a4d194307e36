"""How likely it is that a given label is wrong, from scores of a model that did not see the image.

Two explanations compete for every image whose label the model does not share: the model is unsure there, or the label
is wrong. With q the model's probability at some sharpness s of its logits, and e the share of labels that somebody got
wrong (to any other label alike), a label y is given with probability (1 - e) q_y + e (1 - q_y) / (C - 1), and the part
of the second term is the chance that y is wrong. s and e are averaged over a grid, weighted by how well they explain
all given labels and by a prior that expects few wrong ones: a weak model's disagreements are put down to the model.

Confident learning (Northcutt, Jiang and Chuang, "Confident learning", 2021) asks instead whether the score of another
label exceeds that label's mean self-confidence. On our sets it finds no more of the flipped labels and raises five to
twenty times as many false alarms, because it takes the model's word (docs/honesty.md).
"""

from __future__ import annotations

import numpy as np

from tenshot.automl.evaluation.outcomes import Bools, Floats
from tenshot.automl.scores import sigmoid, softmax

SHARPNESS: Floats = np.exp(np.linspace(-3.0, 6.0, 31, dtype=np.float64))
"""Of logits that were brought to a standard deviation of 1."""
SHIFTS: Floats = np.linspace(-3.0, 3.0, 9, dtype=np.float64)
"""Added to the logits of labels that do not exclude each other: most of those are absent from most images."""
RATES: Floats = np.geomspace(0.002, 0.3, 20, dtype=np.float64)
USUAL_SHARPNESS, SHARPNESS_SPREAD = np.log(2.0), 1.5
RATE_ONES, RATE_ZEROS = 2.0, 40.0
"""Beta prior of e: a few in a hundred, and not many more without evidence."""
MOST_CELLS = 20_000
"""For weighing the grid; a sample of so many says enough."""


def wrong(logits: Floats, given: Bools, *, exclusive: bool) -> tuple[Floats, Floats]:
    """How likely each given label is wrong, and the model's probabilities as this model of noise sees them.

    logits: [N, C] out-of-fold. given: [N, C], one True a row if `exclusive`.
    Returns [N] (exclusive) or [N, C], and [N, C]; all 0…1. Zeros where there is nothing to tell apart.
    """
    if exclusive:
        return _exclusive(logits, given)
    return _independent(logits, given)


def _exclusive(logits: Floats, given: Bools) -> tuple[Floats, Floats]:
    size = logits.shape[1]
    if size < 2 or not len(logits):
        return np.zeros(len(logits)), given.astype(np.float64)
    z = _standardised(logits - logits.mean(axis=1, keepdims=True))
    rows = _sample(len(z))
    likely = np.zeros((len(SHARPNESS), len(RATES)))
    for k, sharpness in enumerate(SHARPNESS):
        own = softmax(z[rows] * sharpness)[given[rows]]
        likely[k] = _log_likelihood(own, (1 - own) / (size - 1)) + _sharpness_prior(sharpness)
    weights = _weights(likely)
    chance, found = np.zeros(len(z)), np.zeros(z.shape)
    for k in np.flatnonzero(weights.sum(axis=1) > 1e-4):
        q = softmax(z * SHARPNESS[k])
        own = q[given]
        chance += _share(own, (1 - own) / (size - 1)) @ weights[k]
        found += q * weights[k].sum()
    return chance, found


def _independent(logits: Floats, given: Bools) -> tuple[Floats, Floats]:
    if not logits.size:
        return np.zeros(logits.shape), np.zeros(logits.shape)
    z, y = _standardised(logits).reshape(-1), given.reshape(-1)
    cells = _sample(len(z))
    grid = [(sharpness, shift) for sharpness in SHARPNESS for shift in SHIFTS]
    likely = np.zeros((len(grid), len(RATES)))
    for k, (sharpness, shift) in enumerate(grid):
        own = _own(z[cells] * sharpness + shift, y[cells])
        likely[k] = _log_likelihood(own, 1 - own) + _sharpness_prior(sharpness) - 0.5 * (shift / 1.5) ** 2
    weights = _weights(likely)
    chance, found = np.zeros(len(z)), np.zeros(len(z))
    for k in np.flatnonzero(weights.sum(axis=1) > 1e-4):
        q = sigmoid(z * grid[k][0] + grid[k][1])
        own = np.where(y, q, 1 - q)
        chance += _share(own, 1 - own) @ weights[k]
        found += q * weights[k].sum()
    return chance.reshape(logits.shape), found.reshape(logits.shape)


def _own(values: Floats, y: Bools) -> Floats:
    q = sigmoid(values)
    return np.where(y, q, 1 - q)


def _log_likelihood(own: Floats, other: Floats) -> Floats:
    """[R] of all given labels at each rate, with the rate's prior."""
    told = (1 - RATES) * own[:, None] + RATES * other[:, None]
    prior = (RATE_ONES - 1) * np.log(RATES) + (RATE_ZEROS - 1) * np.log1p(-RATES)
    # The grid is even in log e, so that a step holds e times as much of it.
    return np.asarray(np.log(np.maximum(told, 1e-12)).sum(axis=0) + prior + np.log(RATES))


def _share(own: Floats, other: Floats) -> Floats:
    """[N, R] how much of the probability of the given label comes from its being wrong."""
    mistaken = RATES * other[:, None]
    return np.asarray(mistaken / np.maximum((1 - RATES) * own[:, None] + mistaken, 1e-12))


def _sharpness_prior(sharpness: float) -> float:
    return float(-0.5 * ((np.log(sharpness) - USUAL_SHARPNESS) / SHARPNESS_SPREAD) ** 2)


def _weights(likely: Floats) -> Floats:
    weights = np.exp(likely - likely.max())
    return np.asarray(weights / weights.sum())


def _standardised(logits: Floats) -> Floats:
    return np.asarray(logits / (float(logits.std()) or 1.0))


def _sample(count: int) -> slice:
    return slice(None, None, max(1, count // MOST_CELLS))
