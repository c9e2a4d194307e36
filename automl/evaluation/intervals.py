"""How sure a number is: 95 % intervals. Numpy only.

What is used where:

- a proportion of images (accuracy of one-label-an-image, a label's precision and recall): Wilson's score interval;
- everything else (F1, AUC, average precision, Brier, …): the percentile bootstrap over images, seeded, 1000 resamples,
  expanded for few images;
- fewer than 30 images, or a value so near to 0 or 1 that fewer than ten images' worth is missing: resampling ten right
  answers can only give ten right answers, so the interval is the hull of the bootstrap's and of Wilson's for the same
  value on as many images. A mean of values in 0…1 never varies more than a proportion does, so this errs towards wide;
- a loss without an upper bound (log loss): the hull of the bootstrap's and of what it would be if as many images as
  Wilson allows of none were answered by guessing.

How often they hold the truth was measured: docs/honesty.md.

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
FEW_ON_A_SIDE = 10.0
"""Images' worth of a metric's distance from 0 or 1. With fewer, resamples show too little of what was seldom seen."""
TOO_WIDE = 0.30
WILSON = "Wilson"
BOOTSTRAP = "bootstrap over images"
WIDENED = "bootstrap over images, widened to Wilson's"
WIDENED_LOSS = "bootstrap over images, widened by what so few may not have shown"
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


def percentile(samples: Floats, images: int | None = None) -> Interval | None:
    """The middle 95 % of the defined bootstrap values; None if fewer than half are defined.

    A sample of N images varies less than the images it was drawn from, so that of few `images` somewhat more than the
    middle 95 % is taken: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69
    (2015), expanded percentile interval.
    """
    known = samples[np.isfinite(samples)]
    if len(known) * 2 < max(1, len(samples)):
        return None
    outside = 100 * _tail(images)
    low, high = np.percentile(known, [outside, 100 - outside])
    return float(low), float(high)


def _tail(images: int | None) -> float:
    """Share of the bootstrap values to leave out on each side: 0.025, or less for few images (0.009 for ten)."""
    if images is None:
        return 0.025
    count = max(4, images)
    free, z = count - 1, _Z
    # Student's t for 95 %, from the normal quantile (Cornish and Fisher): right to 0.03 from three degrees on.
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return 0.5 * math.erfc(t * math.sqrt(count / free) / math.sqrt(2))


def bounded(value: float, samples: Floats, images: int) -> tuple[Interval, str] | None:
    """Interval of a metric in 0…1 and how it was made; None if the resamples do not support one."""
    found = percentile(samples, images)
    if found is None:
        return None
    # Resamples that lose whole labels are biased; the interval never excludes the value itself.
    low, high = min(found[0], value), max(found[1], value)
    if images >= FEW_IMAGES and images * min(value, 1 - value) >= FEW_ON_A_SIDE and high - low > 1e-9:
        return (low, high), BOOTSTRAP
    widened = wilson(value * images, images)
    return (min(widened[0], low), max(widened[1], high)), WIDENED


def unbounded(value: float, samples: Floats, images: int, guess: float) -> tuple[Interval, str] | None:
    """The same for a loss of 0 or more; guessing costs `guess`, which images of a kind not seen yet may cost."""
    found = percentile(samples, images)
    if found is None:
        return None
    unseen = wilson(0, images)[1] * guess
    return (max(0.0, min(found[0], value - unseen)), max(found[1], value + unseen)), WIDENED_LOSS


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
