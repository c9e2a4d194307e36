from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tenshot.automl.scores import Calibration, logit, sigmoid, softmax

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
    ],
)  # fmt: skip
def test_by_hand(calibration: Calibration, raw: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(calibration.apply(np.array(raw)), expected)
    assert Calibration.from_json(calibration.to_json()) == calibration
