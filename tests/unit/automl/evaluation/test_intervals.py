from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenshot.automl.evaluation import intervals


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [
        # the closed form at 0 and at n is 0…z²/(n+z²) and its mirror image
        pytest.param(10, 10, (10 / (10 + 1.959964**2), 1.0), id="all of ten"),
        pytest.param(0, 10, (0.0, 1.959964**2 / (10 + 1.959964**2)), id="none of ten"),
        pytest.param(5, 10, (0.2366, 0.7634), id="half of ten"),
        pytest.param(0, 0, (0.0, 1.0), id="nothing known"),
    ],
)
def test_wilson_by_hand(successes, trials, expected):
    assert intervals.wilson(successes, trials) == pytest.approx(expected, abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_in_range(pair):
    successes, trials = pair
    low, high = intervals.wilson(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1


@pytest.mark.parametrize("trials", [10, 20, 50, 200])
def test_wilson_covers_ninety_five_percent_on_average(trials):
    """Exact coverage, averaged over true shares 0.05…0.95; the textbook interval gets 0.81 at ten."""
    covered = []
    for share in np.linspace(0.05, 0.95, 91):
        chance = [math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(trials + 1)]
        inside = [low <= share <= high for low, high in (intervals.wilson(k, trials) for k in range(trials + 1))]
        covered.append(sum(c for c, within in zip(chance, inside, strict=True) if within))
    assert 0.94 <= np.mean(covered) <= 0.97
    assert min(covered) > 0.82


def test_wilson_covers_in_simulation():
    random = np.random.default_rng(0)
    drawn = random.binomial(30, 0.9, size=4000)
    inside = [low <= 0.9 <= high for low, high in (intervals.wilson(int(k), 30) for k in drawn)]
    assert 0.93 <= np.mean(inside) <= 0.985


def test_bootstrap_covers_a_mean():
    random = np.random.default_rng(1)
    weights = np.concatenate(list(intervals.resamples(60, seed=0, cost_per_resample=1)))
    pairs = [intervals.percentile(weights @ random.beta(2, 2, 60) / 60) for _ in range(400)]
    assert 0.90 <= np.mean([low <= 0.5 <= high for low, high in pairs]) <= 0.98


def test_resamples_are_seeded_and_draw_n_images():
    first, again, other = (np.concatenate(list(intervals.resamples(7, seed=s, cost_per_resample=1))) for s in (3, 3, 4))
    assert first.shape == (1000, 7)
    assert (first.sum(axis=1) == 7).all()
    assert (first == again).all()
    assert not (first == other).all()


def test_costly_resamples_are_fewer():
    assert sum(len(w) for w in intervals.resamples(5, seed=0, cost_per_resample=1e9)) == intervals.FEWEST_RESAMPLES


@pytest.mark.parametrize(
    ("images", "method"),
    [pytest.param(10, intervals.WIDENED, id="ten images"), pytest.param(200, intervals.BOOTSTRAP, id="many images")],
)
def test_few_images_are_never_sure(images, method):
    samples = np.linspace(0.78, 0.82, 1000)
    (low, high), how = intervals.bounded(0.8, samples, images)
    assert how == method
    assert intervals.is_unproven((low, high)) == (images == 10)


def test_a_bootstrap_that_never_varies_falls_back_to_wilson():
    assert intervals.bounded(1.0, np.ones(1000), 50) == (intervals.wilson(50, 50), intervals.WIDENED)


def test_mostly_undefined_resamples_give_nothing():
    assert intervals.percentile(np.array([np.nan, np.nan, 0.5])) is None
    assert intervals.bounded(0.5, np.full(10, np.nan), 10) is None


@pytest.mark.parametrize("trials", [1, 3, 7, 10, 50, 1000])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_wilson_holds_the_share_itself(share: float, trials: int) -> None:
    low, high = intervals.wilson(share * trials, trials)
    assert 0 <= low <= share <= high <= 1
