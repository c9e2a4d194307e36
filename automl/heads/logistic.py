"""Multinomial logistic regression, or one per label where labels do not exclude each other."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from tenshot.automl.heads import ABSENT_LOGIT, Bools, Floats, Layer

MOST_STEPS = 200


def fit(x: Floats, y: Bools, exclusive: bool, strength: float) -> list[Layer]:
    """`strength` is 1 / C, on rows of mean squared length 1."""
    if exclusive:
        return [_multinomial(x, y, strength)]
    rows = [_one(x, y[:, c], strength) for c in range(y.shape[1])]
    return [(np.stack([w for w, _ in rows]), np.array([b for _, b in rows]))]


def _model(strength: float) -> LogisticRegression:
    return LogisticRegression(C=1.0 / strength, max_iter=MOST_STEPS, tol=1e-3)


def _multinomial(x: Floats, y: Bools, strength: float) -> Layer:
    weight, bias = np.zeros((y.shape[1], x.shape[1])), np.full(y.shape[1], -ABSENT_LOGIT)
    names = y.argmax(axis=1)
    present = np.unique(names)
    if len(present) == 1:
        bias[present] = ABSENT_LOGIT
        return weight, bias
    model = _model(strength).fit(x, names)
    if len(present) == 2:
        # sklearn gives one row for two classes: the second one's log-odds, split evenly here.
        weight[present] = np.concatenate([-model.coef_, model.coef_]) / 2
        bias[present] = np.concatenate([-model.intercept_, model.intercept_]) / 2
    else:
        weight[present], bias[present] = model.coef_, model.intercept_
    return weight, bias


def _one(x: Floats, y: Bools, strength: float) -> tuple[Floats, float]:
    if y.all() or not y.any():
        return np.zeros(x.shape[1]), ABSENT_LOGIT if y.all() else -ABSENT_LOGIT
    model = _model(strength).fit(x, y)
    return model.coef_[0], float(model.intercept_[0])
