from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenshot.automl.evaluation import scaling
from tenshot.automl.scores import Calibration, sigmoid, softmax

FAR = 14.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3000), st.floats(0, 1), st.integers(0, 3))
def test_isotonic_curves_rise_and_reach_neither_0_nor_1(seed, count, chance, decimals):
    """Whatever the samples are: few, tied, all right, all wrong, in the wrong order."""
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(0, 4, count), decimals).clip(-FAR + 1, FAR - 1)
    knots = scaling.isotonic(logits, random.random(count) < chance, -FAR, FAR)
    fitted = Calibration("sigmoid", knots=(knots,))  # refuses curves that do not rise
    scores = fitted.apply(np.linspace(-1000, 1000, 500)[:, None])
    assert 0 < scores.min() <= scores.max() < 1
    inside = fitted.apply(np.linspace(-FAR, FAR, 300)[:, None])[:, 0]
    assert (np.diff(inside) > 0).all()
    assert len(knots) <= scaling.MOST_LEVELS + 2


def test_isotonic_follows_the_truth():
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 20_000)
    truth = random.random(20_000) < np.where(logits > 0, 0.8, 0.1)
    curve = Calibration("sigmoid", knots=(scaling.isotonic(logits, truth, -FAR, FAR),))
    np.testing.assert_allclose(curve.apply(np.array([-2.0, -1.0, 1.0, 2.0])), [0.1, 0.1, 0.8, 0.8], atol=0.04)


@pytest.mark.parametrize("hidden", [0.3, 1.0, 4.0])
def test_temperature_is_the_best_of_a_fine_grid(hidden):
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (300, 5))
    truth = np.array([random.choice(5, p=row) for row in softmax(logits)])

    def loss(temperature: float) -> float:
        chance = softmax(hidden * logits / temperature)[np.arange(300), truth]
        return float(-np.log(chance).sum() + 0.5 * np.log(temperature) ** 2)

    found = scaling.temperature(hidden * logits, truth)
    assert found == pytest.approx(hidden, rel=0.25)
    assert loss(found) <= min(loss(t) for t in np.geomspace(0.05, 20, 500)) + 1e-6


def test_vector_finds_a_favoured_label():
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, (4000, 3))
    truth = np.array([random.choice(3, p=row) for row in softmax(logits * [1.0, 0.5, 1.0] + [0, 0, 1.5])])
    slopes, intercepts = scaling.vector(logits, truth)
    np.testing.assert_allclose(slopes, [1.0, 0.5, 1.0], atol=0.1)
    np.testing.assert_allclose(np.array(intercepts) - intercepts[0], [0, 0, 1.5], atol=0.15)


def test_reversed_scores_keep_positive_slopes():
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (400, 2))
    assert min(scaling.vector(logits, (-logits).argmax(axis=1))[0]) >= scaling.LEAST_SLOPE
    assert scaling.line(logits[:, 0], (logits[:, 0] < 0).astype(float), 1.0, 1.0)[0] >= scaling.LEAST_SLOPE


@given(st.integers(0, 1000), st.integers(1, 40))
def test_a_line_through_few_samples_stays_finite(seed, count):
    random = np.random.default_rng(seed)
    values = random.normal(0, 10, count)
    slope, intercept = scaling.line(values, (random.random(count) < sigmoid(values)).astype(float), 0.5, 1.0)
    assert scaling.LEAST_SLOPE <= slope < 4
    assert abs(intercept) < 8
