"""Repeated, stratified, group-aware folds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices to train on, indices to score."""
MOST_FOLDS = 5


def fold_count(strata: NDArray[np.int64], groups: NDArray[np.int64]) -> int:
    """As many folds as the rarest stratum that can be split has groups, 2…5; 0 if nothing can be held out."""
    if len(np.unique(groups)) < 2:
        return 0
    sizes = [len(np.unique(groups[strata == s])) for s in np.unique(strata)]
    splittable = [size for size in sizes if size > 1]
    return max(2, min(MOST_FOLDS, min(splittable, default=2)))


def folds(strata: Sequence[int], groups: Sequence[int], *, count: int, seed: int) -> list[Fold]:
    """`count` folds over all images; images of one group are never on both sides.

    strata: the label of each image (for several labels or boxes: any number that stands for the combination).
    """
    y, g = np.asarray(strata), np.asarray(groups)
    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A stratum with fewer images than folds is expected with ten images; the fold is as even as can be.
        warnings.simplefilter("ignore", UserWarning)
        try:
            split = list(splitter.split(np.zeros(len(y)), y, g))
        except ValueError:
            # Every stratum is smaller than the fold count: stratify by nothing.
            split = list(splitter.split(np.zeros(len(y)), np.zeros(len(y), np.int64), g))
    return [(train, held) for train, held in split if len(train) and len(held)]


def answerable(found: Sequence[Fold], truth: NDArray[np.bool_]) -> list[Fold]:
    """The folds without the held-out images whose only label no training image of the fold carries: a head that never
    saw a label can only be wrong about it, which tells nothing about the head. truth: [N, C], one label an image."""
    names = truth.argmax(axis=1)
    kept = [(train, held[np.isin(names[held], names[train])]) for train, held in found]
    return [(train, held) for train, held in kept if len(held)]
