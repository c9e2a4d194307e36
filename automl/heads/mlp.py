"""A small multilayer perceptron: one hidden layer on the leading directions of the data.

The one head that is not linear, for labels that no plane divides. With ten images it has nothing to find that a linear
head would miss. The search may choose it; what it brings was not measured.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from tenshot.automl.heads import ABSENT_LOGIT, Bools, Floats, Layer

HIDDEN = 32
MOST_DIRECTIONS = 96
"""What the hidden layer sees of the rows: it holds nearly all their spread, and a fit stays within a second."""
MOST_STEPS = 80
DECAY = 0.1
"""Of the squared weights, at strength 1, beside a mean loss over the rows times their number."""


def fit(x: Floats, y: Bools, exclusive: bool, strength: float) -> list[Layer]:
    """`strength` scales the weight decay of both layers. Cross-entropy of softmax or, where labels do not exclude each
    other, of sigmoids; L-BFGS from a fixed start."""
    known = _known(y, exclusive)
    if known.sum() < (2 if exclusive else 1):
        return _constant(x, y, known)
    mean = x.mean(axis=0)
    axes, spread = _leading(x - mean)
    inputs = (x - mean) @ axes / spread
    hidden, output = _descend(inputs, y[:, known].astype(np.float64), exclusive, strength * DECAY)
    first = hidden[0] @ axes.T / spread
    return [(first, hidden[1] - first @ mean), _all_labels(output, y, known)]


def _known(y: Bools, exclusive: bool) -> Bools:
    """Labels that something can be learned about."""
    return np.asarray(y.any(axis=0) if exclusive else y.any(axis=0) & ~y.all(axis=0))


def _leading(centred: Floats) -> tuple[Floats, float]:
    """Orthonormal [R, K], and the scale that gives the rows a mean squared length of √K along them."""
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    count = max(1, min(MOST_DIRECTIONS, int((values > 1e-6 * values[:1]).sum())))
    axes = rows[:count].T
    size = float(np.square(centred @ axes).sum(axis=1).mean())
    return axes, float(np.sqrt(size / np.sqrt(count))) or 1.0


def _descend(x: Floats, t: Floats, exclusive: bool, decay: float) -> tuple[Layer, Layer]:
    random = np.random.default_rng(0)
    shapes = [(HIDDEN, x.shape[1]), (HIDDEN,), (t.shape[1], HIDDEN), (t.shape[1],)]
    start = [random.normal(size=shapes[0]) / np.sqrt(x.shape[1]), np.zeros(HIDDEN),
             random.normal(size=shapes[2]) / np.sqrt(HIDDEN), np.zeros(t.shape[1])]  # fmt: skip
    cuts = np.cumsum([a.size for a in start])[:-1]

    def parts(flat: Floats) -> list[Floats]:
        return [part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True)]

    def loss(flat: Floats) -> tuple[float, Floats]:
        w1, b1, w2, b2 = parts(flat)
        before = x @ w1.T + b1
        after = np.maximum(before, 0.0)
        value, error = _cross_entropy(after @ w2.T + b2, t, exclusive)
        back = (error @ w2) * (before > 0)
        value += 0.5 * decay * float(np.square(w1).sum() + np.square(w2).sum())
        found = [back.T @ x + decay * w1, back.sum(0), error.T @ after + decay * w2, error.sum(0)]
        return value, np.concatenate([g.ravel() for g in found])

    flat = np.concatenate([a.ravel() for a in start])
    found = minimize(loss, flat, jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS, "ftol": 1e-6})
    w1, b1, w2, b2 = parts(found.x)
    return (w1, b1), (w2, b2)


def _cross_entropy(logits: Floats, t: Floats, exclusive: bool) -> tuple[float, Floats]:
    """Sum over the rows, and its derivative by the logits."""
    if exclusive:
        high = logits.max(axis=1, keepdims=True)
        logs = logits - high - np.log(np.exp(logits - high).sum(axis=1, keepdims=True))
        return float(-(t * logs).sum()), np.exp(logs) - t
    value = np.logaddexp(0.0, logits) - t * logits
    return float(value.sum()), 0.5 * (1.0 + np.tanh(0.5 * logits)) - t


def _all_labels(output: Layer, y: Bools, known: Bools) -> Layer:
    """With the labels that nothing could be learned about."""
    weight, bias = np.zeros((y.shape[1], HIDDEN)), np.where(y.all(axis=0), ABSENT_LOGIT, -ABSENT_LOGIT)
    weight[known], bias[known] = output
    return weight, bias


def _constant(x: Floats, y: Bools, known: Bools) -> list[Layer]:
    bias = np.where(known | y.all(axis=0), ABSENT_LOGIT, -ABSENT_LOGIT)
    return [(np.zeros((y.shape[1], x.shape[1])), bias)]
