"""How sure a number is: 95 % intervals. Numpy only.

What is used where:

- a proportion of images (accuracy of one-label-an-image, a label's precision and recall): Wilson's score interval;
- everything else (F1, AUC, average precision, Brier, …): the percentile bootstrap over images, seeded, 1000 resamples;
- fewer than 30 images, or a bootstrap that never varied (all right, all wrong): resampling ten right answers can only
  give ten right answers, so the interval is the hull of the bootstrap's and of Wilson's for the same value on as many
  images. A mean of values in 0…1 never varies more than a proportion does, so this errs towards too wide.

Wilson: JASA 22 (1927). Why it and not the textbook interval: Brown, Cai, DasGupta, Statistical Science 16 (2001).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tenshot.automl.evaluation.outcomes import Floats

Interval = tuple[float, float]

RESAMPLES = 1000
FEWEST_RESAMPLES = 100
FEW_IMAGES = 30
TOO_WIDE = 0.30
WILSON = "Wilson"
BOOTSTRAP = "bootstrap over images"
WIDENED = "bootstrap over images, widened to Wilson's"
_Z = 1.959963984540054
_CHUNK_CELLS = 2_000_000


def wilson(successes: float, trials: float) -> Interval:
    """95 % interval of a proportion; (0, 1) without trials. `successes` need not be whole."""
    if trials <= 0:
        return 0.0, 1.0
    share, square = successes / trials, _Z * _Z / trials
    centre = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials)) / (1 + square)
    # Rounding must not leave the share itself outside: at 1 the sum is 1 - 1e-16.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def percentile(samples: Floats) -> Interval | None:
    """The middle 95 % of the defined bootstrap values; None if fewer than half are defined."""
    known = samples[np.isfinite(samples)]
    if len(known) * 2 < max(1, len(samples)):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def bounded(value: float, samples: Floats, images: int) -> tuple[Interval, str] | None:
    """Interval of a metric in 0…1 and how it was made; None if the resamples do not support one."""
    found = percentile(samples)
    if found is None:
        return None
    if images >= FEW_IMAGES and found[1] - found[0] > 1e-9:
        # Resamples that lose whole labels are biased; the interval never excludes the value itself.
        return (min(found[0], value), max(found[1], value)), BOOTSTRAP
    low, high = wilson(value * images, images)
    return (min(low, found[0]), max(high, found[1])), WIDENED


def is_unproven(interval: Interval) -> bool:
    """True where the interval is too wide for the number to be relied on."""
    return interval[1] - interval[0] > TOO_WIDE


def resamples(images: int, *, seed: int, cost_per_resample: float, budget: float = 5e9) -> Iterator[Floats]:
    """Chunks [b, N] of how often each image was drawn, 1000 rows in all.

    Fewer (at least 100) where a thousand would cost more than `budget` elementary operations.
    """
    if not images:
        return
    rows = int(np.clip(budget / max(1.0, cost_per_resample), FEWEST_RESAMPLES, RESAMPLES))
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // images)
    for start in range(0, rows, step):
        yield random.multinomial(images, np.full(images, 1 / images), size=min(step, rows - start)).astype(np.float64)
