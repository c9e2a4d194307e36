from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tenshot.automl.scores import Calibration, logit, sigmoid, softmax
from tenshot.projects.errors import BundleError

FIFTH = float(np.log(0.25))
"""Logit of 0.2."""
VALUES = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.floats(-1e4, 1e4))


@given(VALUES)
def test_softmax_is_a_distribution(values: np.ndarray) -> None:
    found = softmax(values)
    np.testing.assert_allclose(found.sum(-1), 1.0)
    assert (found >= 0).all()
    np.testing.assert_allclose(found, softmax(values + 1000.0), atol=1e-9)


@given(VALUES)
def test_sigmoid_is_in_range_and_symmetric(values: np.ndarray) -> None:
    found = sigmoid(values)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found + sigmoid(-values), 1.0)


@given(st.floats(1e-5, 1 - 1e-5))
def test_logit_inverts_sigmoid(p: float) -> None:
    assert sigmoid(logit(np.array([p])))[0] == pytest.approx(p, rel=1e-6)


@pytest.mark.parametrize(
    ("calibration", "raw", "expected"),
    [
        pytest.param(Calibration("softmax", temperature=2.0), [0.0, 2.0 * np.log(3.0)], [0.25, 0.75], id="temperature"),
        pytest.param(Calibration("sigmoid", slope=2, intercept=np.log(3)), [0, -np.log(3)], [0.75, 0.25], id="slope"),
        pytest.param(Calibration("platt"), [0.2, 0.9], [0.2, 0.9], id="platt does nothing by itself"),
        pytest.param(Calibration("platt", slope=0.5), [0.5, 0.9], [0.5, 0.75], id="platt flattens"),
        pytest.param(Calibration("platt"), [0.0, 1.0], [1e-6, 1 - 1e-6], id="platt at the ends"),
        pytest.param(
            Calibration("softmax", temperature=2.0, slopes=(2.0, 0.5), intercepts=(0.0, np.log(3.0))),
            [0.0, 0.0], [0.25, 0.75], id="a line per label",
        ),
        pytest.param(
            Calibration("softmax", knots=(((-9.0, -9.0), (9.0, 9.0)), ((-9.0, FIFTH), (9.0, FIFTH + 1e-9)))),
            [0.0, 0.0], [0.5 / 0.7, 0.2 / 0.7], id="a curve per label, brought back to a sum of one",
        ),
        pytest.param(
            Calibration("sigmoid", slope=2.0, knots=(((-2.0, -1.0), (2.0, 1.0)),)),
            [0.0, 0.5, -50.0], sigmoid(np.array([0.0, 0.5, -1.0])), id="one curve for all, level beyond its ends",
        ),
    ],
)  # fmt: skip
def test_by_hand(calibration: Calibration, raw: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(calibration.apply(np.array(raw)), expected)
    assert Calibration.from_json(calibration.to_json()) == calibration


KNOT = st.tuples(st.floats(0.01, 5), st.floats(0.01, 5))


@given(
    st.sampled_from(["softmax", "sigmoid", "platt"]),
    st.floats(0.05, 20),
    st.lists(st.tuples(st.floats(0.05, 5), st.floats(-5, 5)), max_size=4),
    st.lists(st.lists(KNOT, min_size=2, max_size=6), max_size=3),
)
def test_json_round_trip(kind: Any, scale: float, lines: list[tuple[float, float]], rises: list[Any]) -> None:
    slopes, intercepts = tuple(a for a, _ in lines), tuple(b for _, b in lines)
    knots = tuple(tuple(map(tuple, np.cumsum(rise, axis=0).tolist())) for rise in rises)
    found = Calibration(kind, scale, scale, 0.5, slopes, intercepts, knots)  # type: ignore[arg-type]
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_bundles_from_before_curves_are_read_and_plain_ones_are_written_as_then() -> None:
    old = {"kind": "softmax", "temperature": 1.5, "slope": 1.0, "intercept": 0.0}
    assert Calibration.from_json(old) == Calibration("softmax", temperature=1.5)
    assert Calibration("softmax", temperature=1.5).to_json() == old


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param({"kind": "magic"}, "unknown calibration 'magic'", id="kind"),
        pytest.param({"kind": "softmax", "slopes": [1.0]}, "1 slopes and 0 intercepts", id="lengths"),
        pytest.param({"kind": "platt", "knots": [[[0, 0], [1, 0]]]}, "does not rise", id="a level curve"),
        pytest.param({"kind": "platt", "knots": [[[0, 0]]]}, "does not rise", id="a single knot"),
    ],
)
def test_damaged_calibrations(document: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Calibration.from_json(document)


@given(st.integers(0, 100), st.integers(1, 6))
def test_bent_softmax_is_a_distribution(seed: int, labels: int) -> None:
    random = np.random.default_rng(seed)
    knots = tuple(tuple(map(tuple, np.cumsum(random.random((5, 2)) + 0.1, axis=0) - 2)) for _ in range(labels))
    found = Calibration("softmax", knots=knots).apply(random.normal(0, 5, (7, labels)))  # type: ignore[arg-type]
    np.testing.assert_allclose(found.sum(-1), 1.0)
    assert ((found > 0) & (found <= 1)).all()


def test_method_says_what_it_does() -> None:
    assert Calibration("platt").method == "none"
    knots = (((-1.0, -1.0), (1.0, 1.0)),)
    whole = Calibration("softmax", 2.0, slopes=(1.0,), intercepts=(0.0,), knots=knots)
    assert whole.method == "temperature, then a slope and an intercept per label, then isotonic"
