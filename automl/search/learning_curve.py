"""The out-of-fold score of a frozen recipe on parts of the training images, where refitting its head is cheap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.evaluation import evaluate
from tenshot.automl.evaluation.growth import Point
from tenshot.automl.evaluation.outcomes import ClassificationOutcome
from tenshot.automl.scores import Calibration
from tenshot.automl.training.trained import LearningCurve

if TYPE_CHECKING:
    from tenshot.automl.heads import Floats
    from tenshot.automl.search.folds import Fold
    from tenshot.automl.search.frozen import Frozen, Learning

SHARES = (0.34, 0.5, 0.75, 1.0)
"""Of each fold's training images."""
DRAWS = 4
MOST_S = 6.0
SHARE_OF_BUDGET = 0.03
LEAST_IMAGES = 8
USUAL_SPREAD = 0.05
"""Of the score over draws, where there was time for one only."""
METRICS = {True: "accuracy", False: "map"}
"""One label an image, or several: what needs no threshold."""


def curve_of(
    frozen: Frozen, params: dict[str, Any], folds: Sequence[Fold], *, seed: int, left_s: float
) -> LearningCurve | None:
    """The curve as the result of a search carries it; see `measure`. It takes a small part of the seconds left."""
    points = measure(frozen, params, folds, seed=seed, seconds=min(MOST_S, SHARE_OF_BUDGET * left_s))
    if not points:
        return None
    everything = np.arange(len(frozen.data.pictures))
    now = _images_per_label(frozen.data, [(everything, everything)])
    return LearningCurve(points, now, METRICS[frozen.data.exclusive])


def measure(frozen: Frozen, params: dict[str, Any], folds: Sequence[Fold], *, seed: int, seconds: float) -> list[Point]:
    """(images per label, mean score, its standard deviation) for each share, smallest first; empty if there are too few
    images or the time does not allow one draw of each. `seconds` is wall clock, kept to within one draw."""
    data = frozen.data
    if len(data.pictures) < LEAST_IMAGES:
        return []
    scores: dict[float, list[float]] = {share: [] for share in SHARES}
    sizes: dict[float, list[float]] = {share: [] for share in SHARES}
    end = monotonic() + seconds
    for draw in range(DRAWS):
        for share in SHARES:
            if monotonic() > end:
                return _points(data, scores, sizes) if draw else []
            parts = _parts(data, folds, share, seed + 7919 * draw)
            scores[share].append(_score(data, frozen.out_of_fold(params, parts), parts))
            sizes[share].append(_images_per_label(data, parts))
    return _points(data, scores, sizes)


def _parts(data: Learning, folds: Sequence[Fold], share: float, seed: int) -> list[Fold]:
    """The folds with their training side thinned, label by label, so that each keeps at least one image.

    Every fold keeps the same number of a label. Folds of seven and six images of two labels are not as good as their
    mean: the label that is scored is always the one that is short of an image.
    """
    random = np.random.default_rng(seed)
    strata = np.asarray(data.strata)
    kept = share * float(np.mean([len(train) for train, _ in folds])) / len(strata)
    wanted = {int(s): max(1, int(kept * n + 1e-9)) for s, n in zip(*np.unique(strata, return_counts=True), strict=True)}
    return [(_thinned(train, strata, wanted, random), held) for train, held in folds]


def _thinned(
    train: NDArray[np.int64], strata: NDArray[np.int64], wanted: Mapping[int, int], random: np.random.Generator
) -> NDArray[np.int64]:
    rows = [random.permutation(train[strata[train] == s])[: wanted[int(s)]] for s in np.unique(strata[train])]
    return np.sort(np.concatenate(rows))


def _score(data: Learning, logits: Floats, parts: Sequence[Fold]) -> float:
    """Of the images that the folds hold out."""
    rows = np.unique(np.concatenate([held for _, held in parts]))
    kind = "softmax" if data.exclusive else "sigmoid"
    scores = Calibration(kind).apply(logits[rows])  # type: ignore[arg-type]
    ids = tuple(data.pictures[i].id for i in rows.tolist())
    outcome = ClassificationOutcome(data.labels, ids, data.truth[rows], logits[rows], scores, data.exclusive)
    return evaluate.values(outcome)[METRICS[data.exclusive]]


def _images_per_label(data: Learning, parts: Sequence[Fold]) -> float:
    carried = np.maximum(1, data.truth.any(axis=0).sum())
    return float(np.mean([data.truth[train].sum() / carried for train, _ in parts]))


def _points(data: Learning, scores: dict[float, list[float]], sizes: dict[float, list[float]]) -> list[Point]:
    """The standard deviation is that of one draw, not of their mean: all are drawn from the same few images, and what
    other images would have given is not known any better for drawing often."""
    points: dict[float, Point] = {}
    for share, found in scores.items():
        spread = float(np.std(found, ddof=1)) if len(found) > 1 else USUAL_SPREAD
        size = float(np.mean(sizes[share]))
        points[size] = (size, float(np.mean(found)), max(spread, 0.5 / len(data.pictures)))
    return [points[size] for size in sorted(points)]
