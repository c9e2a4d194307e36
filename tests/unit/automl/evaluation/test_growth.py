"""The forecast of what more images bring: right on curves that are known, wide where little is known."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation import plots
from tenshot.automl.evaluation.growth import Forecast, forecast, sentence

SIZES = (2, 4, 6, 8)


def law(n, error=0.8, speed=0.6, floor=0.0):
    return 1 - (floor + error * n**-speed)


def fitted(images=200, now=10, sd=0.02, noise=None, **curve) -> Forecast:
    points = [(float(n), float(np.clip(law(n, **curve) + (noise or (lambda: 0.0))(), 0, 1)), sd) for n in SIZES]
    found = forecast(points, now=now, images=images, metric="accuracy")
    assert found is not None
    return found


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param({}, id="usual"),
        pytest.param({"error": 0.9, "speed": 0.3}, id="slow"),
        pytest.param({"error": 0.9, "speed": 0.9}, id="fast"),
        pytest.param({"error": 0.4, "speed": 0.8, "floor": 0.2}, id="levels off"),
        pytest.param({"error": 0.02, "speed": 0.5}, id="nearly perfect"),
    ],
)
def test_the_true_gain_is_in_the_range(curve):
    found = fitted(**curve)
    gain = law(20, **curve) - law(10, **curve)
    assert found.low <= gain <= found.high
    assert found.gain == pytest.approx(gain, abs=0.06)
    assert found.score == pytest.approx(law(10, **curve), abs=0.05)


def test_the_range_covers_noisy_curves_nine_times_in_ten():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        curve = {"error": random.uniform(0.3, 0.9), "speed": random.uniform(0.3, 0.9)}
        common = random.normal(0, 0.05)  # the luck of the sixty images that are scored
        found = fitted(images=60, sd=0.02, noise=lambda c=common: c + random.normal(0, 0.02), **curve)
        covered.append(found.low <= law(20, **curve) - law(10, **curve) <= found.high)
    assert np.mean(covered) >= 0.9


def test_fewer_images_give_a_wider_range():
    few, many = fitted(images=10, sd=0.08), fitted(images=500, sd=0.01)
    assert few.high - few.low > 2 * (many.high - many.low)


def test_the_band_holds_the_curve_and_ends_with_ten_more():
    found = fitted()
    sizes = [n for n, _, _ in found.curve]
    assert sizes == sorted(sizes)
    assert sizes[-1] == pytest.approx(20)
    assert all(low <= high for _, low, high in found.curve)
    assert found.later > found.score


@pytest.mark.parametrize(
    ("points", "now"),
    [
        pytest.param([], 5, id="none"),
        pytest.param([(2.0, 0.5, 0.1)], 5, id="one"),
        pytest.param([(2.0, 0.5, 0.1), (4.0, 0.6, 0.1)], 0, id="no images"),
    ],
)
def test_too_little_for_a_forecast(points, now):
    assert forecast(points, now=now, images=10, metric="accuracy") is None


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_scores_at_the_ends(score):
    found = forecast([(n, score, 0.0) for n in SIZES], now=10, images=20, metric="accuracy")
    assert found is not None
    assert all(np.isfinite([found.score, found.later, found.gain, found.low, found.high]))
    assert 0 <= found.score <= found.later <= 1


def test_sentences():
    text = sentence(fitted(), "accuracy")
    assert text.startswith("10 more images of each label would raise accuracy by about")
    assert "from about 0." in text
    assert "90\u00a0%" in text
    flat = sentence(fitted(error=0.001), "accuracy")
    assert "would hardly raise accuracy" in flat
    other = forecast([(float(n), law(n), 0.02) for n in SIZES], now=10, images=50, metric="accuracy", own=False)
    assert other is not None
    assert "a head on frozen features" in sentence(other, "accuracy")
    assert "from about" not in sentence(other, "accuracy")


def test_plot():
    svg = plots.growth(fitted(), "accuracy")
    assert svg.startswith("<svg")
    for text in ("training images per label", "accuracy", "now", "10 more of each"):
        assert text in svg
