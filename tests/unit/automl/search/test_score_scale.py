"""Out-of-fold scores on the scale of the final detector."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation.detection_metrics import detection_metrics
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome
from tenshot.automl.scores import logit
from tenshot.automl.search.score_scale import LARGEST_SHIFT, UNSEEN, shifted, sureness

SQUARE = (0.1, 0.1, 0.3, 0.3)
ELSEWHERE = (0.6, 0.6, 0.8, 0.8)


def boxes(*rows: tuple[tuple[float, float, float, float], int, float]) -> Boxes:
    scores = np.array([row[2] for row in rows])
    xyxy = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    return Boxes(xyxy, np.array([row[1] for row in rows], np.int64), scores, scores)


TRUTH = boxes((SQUARE, 0, 1.0))


@pytest.mark.parametrize(
    ("found", "score"),
    [
        pytest.param(boxes((SQUARE, 0, 0.4), (SQUARE, 0, 0.7)), 0.7, id="best-of-two"),
        pytest.param(boxes((SQUARE, 1, 0.9), (SQUARE, 0, 0.3)), 0.3, id="other-label-does-not-count"),
        pytest.param(boxes((ELSEWHERE, 0, 0.9)), UNSEEN, id="other-place-does-not-count"),
        pytest.param(boxes(), UNSEEN, id="nothing-found"),
    ],
)
def test_sureness(found: Boxes, score: float) -> None:
    assert sureness([TRUTH], [found]) == pytest.approx(float(logit(np.array(score))))


def test_no_true_box_says_nothing() -> None:
    assert sureness([boxes()], [boxes((SQUARE, 0, 0.9))]) is None


def test_shift_moves_scores_and_keeps_every_average_precision() -> None:
    random = np.random.default_rng(0)
    rows = [(SQUARE, 0, float(s)) for s in random.uniform(0.1, 0.9, 3)] + [(ELSEWHERE, 0, 0.5)]
    outcome = DetectionOutcome(("a",), ("x",), (TRUTH,), (boxes(*sorted(rows, key=lambda r: -r[2])),))
    moved = shifted(outcome, 1.5)
    assert logit(moved.predictions[0].raw) == pytest.approx(logit(outcome.predictions[0].raw) + 1.5)
    before, after = detection_metrics(outcome), detection_metrics(moved)
    assert after["map50"] == pytest.approx(before["map50"])
    assert after["map50_95"] == pytest.approx(before["map50_95"])


def test_shift_is_bounded() -> None:
    outcome = DetectionOutcome(("a",), ("x",), (TRUTH,), (boxes((SQUARE, 0, 0.5)),))
    assert logit(shifted(outcome, 100.0).predictions[0].raw) == pytest.approx([LARGEST_SHIFT])
