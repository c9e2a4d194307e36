"""How candidates for a classifier are compared: the log loss of their calibrated out-of-fold scores.

It is a proper score: with ten images it tells candidates apart where their accuracies are equal. One temperature is all
that is calibrated here, whatever the version is calibrated with in the end: it is fast and cannot overfit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from tenshot.automl.evaluation.outcomes import ClassificationOutcome
from tenshot.automl.scores import Calibration, softmax

if TYPE_CHECKING:
    from tenshot.automl.heads import Bools, Floats
    from tenshot.automl.search.frozen import Learning

SURE = 2.0
"""Standard errors by which the best of many must lead: one of them is easily one error ahead by luck."""
CHEAPER = 1.0
"""Standard errors up to which the cheaper of a few is taken (the 1-SE rule: Breiman et al., 1984)."""
MOST_LOG_TEMPERATURE = 3.0
_LOG_TEMPERATURE_SD = 1.0
"""Of a Gaussian prior around leaving the logits as they are: ten images that happen to be separated perfectly must not
count as a certainty."""


@dataclass(frozen=True)
class Score:
    value: float
    """Mean log loss over the images that were held out."""
    sd: float
    """Its standard error."""
    losses: Floats
    """[N]; NaN for images that nothing was held out for."""
    temperature: float
    outcome: ClassificationOutcome
    """Of the images that were held out, uncalibrated."""

    @property
    def accuracy(self) -> float:
        """Share of images (several labels: of answers) that are right."""
        if self.outcome.exclusive:
            return float((self.outcome.raw.argmax(1) == self.outcome.truth.argmax(1)).mean())
        return float(((self.outcome.raw > 0) == self.outcome.truth).mean())


def score(data: Learning, logits: Floats, rows: NDArray[np.int64]) -> Score:
    """logits: [N, C], of which `rows` (at least one) were held out."""
    raw, truth = logits[rows], data.truth[rows]
    temperature = fitted_temperature(raw, truth, data.exclusive)
    losses = np.full(len(data.truth), np.nan)
    losses[rows] = image_losses(raw / temperature, truth, data.exclusive)
    kind: Any = "softmax" if data.exclusive else "sigmoid"
    ids = tuple(data.pictures[int(row)].id for row in rows)
    outcome = ClassificationOutcome(data.labels, ids, truth, raw, Calibration(kind).apply(raw), data.exclusive)
    found = losses[rows]
    return Score(float(found.mean()), float(found.std() / np.sqrt(len(found))), losses, temperature, outcome)


def fitted_temperature(logits: Floats, truth: Bools, exclusive: bool) -> float:
    """The likeliest under the prior."""

    def objective(log_temperature: float) -> float:
        loss = image_losses(logits / np.exp(log_temperature), truth, exclusive).sum()
        return float(loss) + 0.5 * (log_temperature / _LOG_TEMPERATURE_SD) ** 2

    limits = (-MOST_LOG_TEMPERATURE, MOST_LOG_TEMPERATURE)
    return float(np.exp(minimize_scalar(objective, bounds=limits, method="bounded", options={"xatol": 0.01}).x))


def image_losses(logits: Floats, truth: Bools, exclusive: bool) -> Floats:
    """[N] log loss of each image; for several labels the mean over them."""
    if exclusive:
        return np.asarray(-np.log(np.clip(softmax(logits)[truth], 1e-7, 1.0)))
    return np.asarray(np.minimum(np.logaddexp(0.0, np.where(truth, -logits, logits)), 16.0).mean(axis=1))


def lead(losses: Floats, rivals: Floats) -> float:
    """By how many standard errors of the paired difference `losses` are the smaller ones; images without both are left
    out. 0 where nothing can be said."""
    gain = (rivals - losses)[np.isfinite(rivals) & np.isfinite(losses)]
    if len(gain) < 2 or not gain.mean():
        return 0.0
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return float(gain.mean() / error) if error else float(np.copysign(np.inf, gain.mean()))


def clearly_better(losses: Floats, rivals: Floats) -> bool:
    """Whether the mean of the paired differences is more than two standard errors in favour of `losses`."""
    return lead(losses, rivals) > SURE


def cheapest_of_the_best(losses: list[Floats]) -> int:
    """Of candidates in order of their cost: the first that the best one is no more than one standard error ahead of."""
    best = int(np.argmin([np.nanmean(row) for row in losses]))
    return next(i for i, row in enumerate(losses) if i == best or lead(losses[best], row) <= CHEAPER)
