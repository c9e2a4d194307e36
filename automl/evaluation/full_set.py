"""Intervals of cross-validated scores, for the version that learned from all images.

A model of a fold learned from fewer images than the version that is served, so out-of-fold scores are a little too bad
(Hastie, Tibshirani, Friedman: The Elements of Statistical Learning, 7.10.1). By how much is not known. Errors fall
about as n^-b (automl/evaluation/growth.py), so that a version of n images has an error between share^b and 1 times that
of models which learned from `share` · n of them, b being the steepest that is usual. The interval reaches that much
further to the better side; the other side and the score itself stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tenshot.automl.evaluation import intervals
from tenshot.automl.evaluation.evaluate import LOSSES, NO_INTERVAL, Evaluation
from tenshot.automl.evaluation.growth import SPEED_SPREAD, TAIL, USUAL_SPEED
from tenshot.automl.evaluation.intervals import Interval

STEEPEST = USUAL_SPEED + TAIL * SPEED_SPREAD
SUFFIX = "_interval"


def reaching(found: Evaluation, share: float) -> Evaluation:
    """`found` with wider intervals. share: of all training images, what each model of a fold learned from, 0…1."""
    factor = min(max(share, 0.0), 1.0) ** STEEPEST
    wider = {name: _reaching(name, pair, factor) for name, pair in found.intervals.items()}
    unproven = [name for name, pair in wider.items() if name not in LOSSES and intervals.is_unproven(pair)]
    return replace(
        found,
        intervals=wider,
        methods={name: f"{said}, reaching to what all images may add" for name, said in found.methods.items()},
        labels=[_row(row, factor) for row in found.labels],
        unproven=unproven,
    )


def _row(row: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {
        name: _reaching(name.removesuffix(SUFFIX), value, factor) if name.endswith(SUFFIX) and value else value
        for name, value in row.items()
    }


def _reaching(name: str, pair: Interval, factor: float) -> Interval:
    low, high = pair
    if name in LOSSES | NO_INTERVAL:
        return low * factor, high
    return low, 1.0 - (1.0 - high) * factor
