"""Which images to look at where there is no time for all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.heads import Bools

FIRST = 5
"""Images of each label that come before all others: a label with fewer can hardly be held out and learned at once."""


def order(truth: Bools, seed: int) -> NDArray[np.int64]:
    """All images of truth [N, C], at random but for the first few of each label, which lead. Any beginning of it that
    holds these has the others in about the shares that they have in the whole."""
    shuffled = np.random.default_rng(seed).permutation(len(truth))
    # Position of each image among those of each of its labels; images of no label are theirs in one group of their own.
    own = np.concatenate([truth, ~truth.any(axis=1, keepdims=True)], axis=1)[shuffled]
    place = np.where(own, np.cumsum(own, axis=0), len(truth) + 1).min(axis=1)
    late = place > FIRST
    return np.asarray(shuffled[np.lexsort((np.arange(len(truth)), np.where(late, FIRST + 1, place)))], np.int64)


def fewest(truth: Bools) -> int:
    """How many images the first few of each label are, at most."""
    return int(min(len(truth), FIRST * truth.shape[1]))


def affordable(images: int, views: int, most_views: int) -> tuple[int, int]:
    """(images, views of each) that so many `views` in all allow: fewer views first, then fewer images."""
    each = int(np.clip(views // max(1, images), 1, most_views))
    return (images if views >= images else max(1, views)), each
