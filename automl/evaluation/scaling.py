"""The fits that calibration is built of, simplest first. Numpy only.

Each but the last adds a Gaussian prior around "leave the scores as they are" to the log-likelihood: ten images that
happen to be separated perfectly must not make a model that is sure of everything. With more images the prior fades.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tenshot.automl.evaluation.outcomes import Bools, Floats, Ints
from tenshot.automl.scores import Knots, logit, sigmoid, softmax

COLDEST, HOTTEST = 0.05, 20.0
LEAST_SLOPE = 0.05
"""A slope of zero or less would forget or reverse the order of the scores."""
_LOG_TEMPERATURE_SD = 1.0
_VECTOR_SD = (0.5, 1.0)
_STEPS = 50
_SMALL = 1e-9
MOST_LEVELS = 20
FEWEST_PER_LEVEL = 50
PRIOR_SAMPLES = 2.0
"""So many imagined samples per level that come true as often as the score says: no level is ever 0 or 1."""
FARTHEST = float(logit(np.array([1.0]))[0])
"""Logit of the surest score there is."""
_LEAST_RISE = 1e-3


def temperature(logits: Floats, truth: Ints) -> float:
    """0.05…20, for logits [N, C] and the right column [N]; Newton's method on log(1 / temperature)."""

    def slopes(sharpness: float) -> tuple[float, float, float]:
        """The penalised loss, its derivative, and a curvature that is never negative (Fisher's)."""
        z = np.exp(sharpness) * logits
        chance = softmax(z)
        right = z[rows, truth]
        expected = (chance * z).sum(axis=1)
        spread = (chance * z**2).sum(axis=1) - expected**2
        shifted = z - z.max(axis=1, keepdims=True)
        loss = (np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, truth]).sum()
        prior = 1 / _LOG_TEMPERATURE_SD**2
        return (
            float(loss + 0.5 * prior * sharpness**2),
            float((expected - right).sum() + prior * sharpness),
            float(spread.sum() + prior),
        )

    rows = np.arange(len(logits))
    grid = [0.0, *np.linspace(-np.log(HOTTEST), -np.log(COLDEST), 7).tolist()]
    at = min(grid, key=lambda x: slopes(x)[0])
    for _ in range(_STEPS):
        loss, gradient, curvature = slopes(at)
        tried = [at - gradient / curvature / 2**halving for halving in range(12)]
        tried = [float(np.clip(x, -np.log(HOTTEST), -np.log(COLDEST))) for x in tried]
        moved = next((x for x in tried if slopes(x)[0] < loss - _SMALL), at)
        if abs(moved - at) < 1e-5:
            break
        at = moved
    return float(np.exp(-at))


def line(values: Floats, truth: Floats, slope_sd: float, intercept_sd: float) -> tuple[float, float]:
    """slope and intercept of the likeliest sigmoid(slope · value + intercept) under the prior; Newton with halving."""
    centre, strength = np.array([1.0, 0.0]), 1 / np.array([slope_sd, intercept_sd]) ** 2

    def objective(at: Floats) -> float:
        z = at[0] * values + at[1]
        return float((np.logaddexp(0.0, z) - truth * z).sum() + 0.5 * (strength * (at - centre) ** 2).sum())

    def step(at: Floats) -> Floats:
        chance = sigmoid(at[0] * values + at[1])
        wrong, spread = chance - truth, chance * (1 - chance)
        gradient = np.array([wrong @ values, wrong.sum()]) + strength * (at - centre)
        cross = spread @ values
        curvature = np.array([[spread @ values**2, cross], [cross, spread.sum()]]) + np.diag(strength)
        return np.asarray(np.linalg.solve(curvature, gradient))

    found = _newton(objective, step, centre, slopes=1)
    return float(found[0]), float(found[1])


def vector(logits: Floats, truth: Ints) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """slopes [C] and intercepts [C] for the likeliest softmax(slopes · logits + intercepts) under the prior."""
    size = logits.shape[1]
    centre = np.repeat([1.0, 0.0], size)
    strength = 1 / np.repeat(_VECTOR_SD, size) ** 2
    right = np.eye(size)[truth]

    def objective(at: Floats) -> float:
        z = at[:size] * logits + at[size:]
        top = z.max(axis=1)
        loss = top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - (z * right).sum(axis=1)
        return float(loss.sum() + 0.5 * (strength * (at - centre) ** 2).sum())

    def step(at: Floats) -> Floats:
        chance = softmax(at[:size] * logits + at[size:])
        wrong = chance - right
        gradient = np.concatenate([(wrong * logits).sum(axis=0), wrong.sum(axis=0)]) + strength * (at - centre)
        mixed = np.concatenate([chance * logits, chance], axis=1)
        curvature = np.diag(strength) - mixed.T @ mixed
        first, second = np.arange(size), np.arange(size, 2 * size)
        curvature[first, first] += (chance * logits**2).sum(axis=0)
        curvature[second, second] += chance.sum(axis=0)
        curvature[first, second] += (chance * logits).sum(axis=0)
        curvature[second, first] += (chance * logits).sum(axis=0)
        return np.asarray(np.linalg.solve(curvature, gradient))

    found = _newton(objective, step, centre, slopes=size)
    return tuple(found[:size].tolist()), tuple(found[size:].tolist())


def isotonic(logits: Floats, truth: Bools, low: float, high: float) -> Knots:
    """A rising curve through at most twenty levels, from `low` to `high` (logits beyond all that can occur).

    The sorted samples [K] are cut into parts, each part's share that came true is pooled with its neighbours' until
    the shares rise, and each pool is one knot. The curve ends at the most that K samples can show: 1 − 1/(K + 2).
    """
    order = np.argsort(logits, kind="stable")
    x, hit = logits[order], truth[order].astype(np.float64)
    chance = sigmoid(x)
    parts = _parts(chance, int(np.clip(len(x) // FEWEST_PER_LEVEL, 1, MOST_LEVELS)))
    count = np.asarray(np.bincount(parts) + PRIOR_SAMPLES, np.float64)
    expected = np.bincount(parts, chance) / np.bincount(parts)
    level = (np.bincount(parts, hit) + PRIOR_SAMPLES * expected) / count
    centre = np.bincount(parts, x) / np.bincount(parts)
    knots = [(float(a), float(logit(np.array(b)))) for a, b in _pooled(centre, level, count)]
    limit = float(np.log(len(x) + 1.0))
    knots = [(low, min(-limit, knots[0][1] - _LEAST_RISE)), *knots, (high, max(limit, knots[-1][1] + _LEAST_RISE))]
    return _rising(knots)


def _parts(chance: Floats, most: int) -> Ints:
    """[K] number of the part of each sorted sample, 0, 1, 2 … without a gap. Where scores are undecided, parts hold
    fewer samples, since these say more about the curve than another thousand at nought."""
    undecided = chance * (1 - chance)
    mass = undecided / max(float(undecided.sum()), 1e-12) + 1 / len(chance)
    which = np.minimum((np.cumsum(mass) / mass.sum() * most).astype(np.int64), most - 1)
    return np.asarray(np.unique(which, return_inverse=True)[1], np.int64)


def _pooled(x: Floats, level: Floats, weight: Floats) -> list[tuple[float, float]]:
    """Neighbours whose levels do not rise become one: weighted means of x and level (pool adjacent violators)."""
    pools: list[tuple[float, float, float]] = []
    for pool in zip(x.tolist(), level.tolist(), weight.tolist(), strict=True):
        merged = pool
        while pools and pools[-1][1] >= merged[1]:
            a, b, w = pools.pop()
            whole = w + merged[2]
            merged = ((a * w + merged[0] * merged[2]) / whole, (b * w + merged[1] * merged[2]) / whole, whole)
        pools.append(merged)
    return [(a, b) for a, b, _ in pools]


def _rising(knots: list[tuple[float, float]]) -> Knots:
    """Knots that lie on one another (equal scores) are left out, so that x and y rise strictly."""
    kept = [knots[0]]
    for knot in knots[1:-1]:
        if knot[0] > kept[-1][0] + 1e-6 and knot[1] > kept[-1][1] + 1e-6 and knot[0] < knots[-1][0] - 1e-6:
            kept.append(knot)
    return (*kept, knots[-1])


def _newton(
    objective: Callable[[Floats], float], step: Callable[[Floats], Floats], start: Floats, *, slopes: int
) -> Floats:
    """The minimum from `start` on; the first `slopes` values stay at 0.05 or above."""
    at = start
    for _ in range(_STEPS):
        moved = _downhill(objective, at, step(at), slopes)
        if np.abs(moved - at).max() < 1e-6:
            break
        at = moved
    return at


def _downhill(objective: Callable[[Floats], float], at: Floats, step: Floats, slopes: int) -> Floats:
    """The first halving of the step that keeps the slopes and lowers the objective, or where it stood."""
    start = objective(at)
    for halving in range(30):
        tried: Floats = at - step / 2**halving
        tried[:slopes] = np.maximum(tried[:slopes], LEAST_SLOPE)
        if objective(tried) < start:
            return tried
    return at
