"""Fit the calibration of a version on its out-of-fold outcome. Numpy only.

Each fit adds a Gaussian prior around "leave the scores as they are" to the log-likelihood: ten images that happen to
be separated perfectly must not make a model that is sure of everything. With more images the prior fades. Since the
penalised optimum is at least as good as the identity, whose penalty is zero, the likelihood on the fitted data never
gets worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tenshot.automl.evaluation import detection_metrics, metrics
from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome, Floats, Outcome
from tenshot.automl.scores import Calibration, logit, sigmoid

COLDEST, HOTTEST = 0.05, 20.0
LEAST_SLOPE = 0.05
"""A slope of zero or less would forget or reverse the order of the scores."""
_LOG_TEMPERATURE_SD = 1.0
_SLOPE_SD, _INTERCEPT_SD = 0.5, 1.0
_BOX_SLOPE_SD, _BOX_INTERCEPT_SD = 1.0, 3.0


def fit(outcome: Outcome) -> Calibration:
    """`softmax` temperature (one label an image), `sigmoid` (multilabel) or `platt` (detection; a box is right if it is
    matched at IoU 0.5; boxes with a raw score of at least 0.01). The identity where there is nothing to fit on."""
    if not isinstance(outcome, ClassificationOutcome):
        raw, hit, _ = detection_metrics.confidences(detection_metrics.match(_boxes_scored(outcome, lambda raw: raw)))
        slope, intercept = _line(logit(raw), hit, _BOX_SLOPE_SD, _BOX_INTERCEPT_SD)
        return Calibration("platt", slope=slope, intercept=intercept)
    if outcome.exclusive:
        return Calibration("softmax", temperature=_temperature(outcome))
    truth = outcome.truth.ravel().astype(np.float64)
    slope, intercept = _line(outcome.raw.ravel(), truth, _SLOPE_SD, _INTERCEPT_SD)
    return Calibration("sigmoid", slope=slope, intercept=intercept)


def apply_to(outcome: Outcome, calibration: Calibration) -> Outcome:
    """The same outcome with its scores made anew from its raw outputs."""
    if isinstance(outcome, ClassificationOutcome):
        return replace(outcome, scores=calibration.apply(outcome.raw))
    return _boxes_scored(outcome, calibration.apply)


def _boxes_scored(outcome: DetectionOutcome, score: Callable[[Floats], Floats]) -> DetectionOutcome:
    found = tuple(Boxes(b.xyxy, b.label, score(b.raw), b.raw) for b in outcome.predictions)
    return replace(outcome, predictions=found)


def quality(outcome: Outcome) -> dict[str, float]:
    """`brier`, `ece`, `nll` of the outcome's scores: call it before and after to see what calibration did."""
    if isinstance(outcome, ClassificationOutcome):
        values = metrics.classification_metrics(outcome)
    else:
        values = detection_metrics.detection_metrics(outcome)
    return {name: values[name] for name in ("brier", "ece", "nll") if name in values}


def _temperature(outcome: ClassificationOutcome) -> float:
    if not len(outcome):
        return 1.0

    def objective(log_temperature: float) -> float:
        scores = Calibration("softmax", temperature=float(np.exp(log_temperature))).apply(outcome.raw)
        calibrated = replace(outcome, scores=scores)
        loss = float(metrics.nll(calibrated, metrics.ones(outcome))[0]) * len(outcome)
        return loss + 0.5 * (log_temperature / _LOG_TEMPERATURE_SD) ** 2

    grid = np.linspace(np.log(COLDEST), np.log(HOTTEST), 61)
    best = int(np.argmin([objective(x) for x in grid]))
    found = _golden(objective, grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)])
    return float(np.exp(found)) if objective(found) <= objective(0.0) else 1.0


def _golden(objective: Callable[[float], float], low: float, high: float, steps: int = 30) -> float:
    """Golden-section search for the minimum of a function with one valley."""
    part = (np.sqrt(5.0) - 1) / 2
    for _ in range(steps):
        left, right = high - part * (high - low), low + part * (high - low)
        low, high = (low, right) if objective(left) < objective(right) else (left, high)
    return float(low + high) / 2


def _line(values: Floats, truth: Floats, slope_sd: float, intercept_sd: float) -> tuple[float, float]:
    """slope and intercept of the likeliest sigmoid(slope · value + intercept) under the prior; Newton with halving."""
    centre, strength = np.array([1.0, 0.0]), 1 / np.array([slope_sd, intercept_sd]) ** 2

    def objective(line: Floats) -> float:
        z = line[0] * values + line[1]
        return float((np.logaddexp(0.0, z) - truth * z).sum() + 0.5 * (strength * (line - centre) ** 2).sum())

    line: Floats = centre
    for _ in range(50):
        chance = sigmoid(line[0] * values + line[1])
        wrong, spread = chance - truth, chance * (1 - chance)
        gradient = np.array([wrong @ values, wrong.sum()]) + strength * (line - centre)
        cross = spread @ values
        curvature = np.array([[spread @ values**2, cross], [cross, spread.sum()]]) + np.diag(strength)
        step = np.linalg.solve(curvature, gradient)
        moved = _downhill(objective, line, step)
        if np.abs(moved - line).max() < 1e-9:
            break
        line = moved
    return float(line[0]), float(line[1])


def _downhill(objective: Callable[[Floats], float], line: Floats, step: Floats) -> Floats:
    """The first halving of the step that keeps the slope and lowers the objective, or where it stood."""
    start = objective(line)
    for halving in range(30):
        tried: Floats = line - step / 2**halving
        tried[0] = max(tried[0], LEAST_SLOPE)
        if objective(tried) < start:
            return tried
    return line
