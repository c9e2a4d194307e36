from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.bundle import Base, Input, Manifest, Suppression
from tenshot.automl.evaluation.outcomes import ClassificationOutcome, DetectionOutcome
from tenshot.automl.outcome import batches, boxes_of, observe, parity, parity_of_second
from tenshot.automl.predictor import Predictor
from tenshot.automl.scores import Calibration
from tenshot.automl.second_look import SecondLook
from tenshot.datasets.annotations import Box
from tenshot.projects.errors import JobCancelled
from tenshot.projects.status import Task

KINDS = {Task.CLASSIFICATION: "softmax", Task.MULTILABEL: "sigmoid", Task.DETECTION: "platt"}


def manifest(task: Task) -> Manifest:
    return Manifest(
        project="p", version=1, task=task, labels=("a", "b"), thresholds={}, calibration=Calibration(KINDS[task]),  # type: ignore[arg-type]
        input=Input(8, 8, "letterbox"), base=Base("", "", "", ""), dataset_version=1, dataset_sha256="", created_at=0.0,
        seed=0, suppression=Suppression() if task is Task.DETECTION else None,
    )  # fmt: skip


def brightness(batch: np.ndarray) -> np.ndarray:
    """Logits of `a` (dark) and `b` (bright)."""
    mean = batch.mean((1, 2, 3), keepdims=False)
    return np.stack([0.5 - mean, mean - 0.5], axis=1).astype(np.float32)


def image(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.MULTILABEL])
def test_classifier(task: Task) -> None:
    rows = [(f"{k}", image(20 * k), ("b", "unknown") if k > 6 else ("a",), ()) for k in range(12)]
    found = observe(Predictor(manifest(task), brightness), rows)
    assert isinstance(found, ClassificationOutcome)
    assert found.images == tuple(str(k) for k in range(12))
    assert found.exclusive is (task is Task.CLASSIFICATION)
    assert found.truth.tolist() == [[k <= 6, k > 6] for k in range(12)]
    assert (found.raw.argmax(1) == found.truth.argmax(1)).all()
    np.testing.assert_allclose(found.scores, Calibration(KINDS[task]).apply(found.raw))  # type: ignore[arg-type]


def test_detector() -> None:
    output = np.array([[4, 4, 4, 4, 0.9, 0.1]], np.float32).T
    boxes = (Box("b", 0.25, 0.25, 0.5, 0.5), Box("unknown", 0, 0, 1, 1))
    predictor = Predictor(manifest(Task.DETECTION), lambda batch: np.stack([output] * len(batch)))
    found = observe(predictor, [("x", image(0), (), boxes), ("y", image(0), (), ())])
    assert isinstance(found, DetectionOutcome)
    assert [len(t) for t in found.truth] == [1, 0]
    assert found.truth[0].label.tolist() == [1]
    np.testing.assert_allclose(found.predictions[0].xyxy[0], [0.25, 0.25, 0.75, 0.75])


def test_nothing() -> None:
    found = observe(Predictor(manifest(Task.CLASSIFICATION), brightness), [])
    assert len(found) == 0


def test_stops_between_batches() -> None:
    def stop() -> None:
        raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        observe(Predictor(manifest(Task.CLASSIFICATION), brightness), [("x", image(0), (), ())], stop)


def test_boxes_of_nothing() -> None:
    assert boxes_of((), ("a",)).xyxy.shape == (0, 4)


@pytest.mark.parametrize(("count", "expected"), [(0, []), (8, [8]), (9, [8, 1]), (17, [8, 8, 1])])
def test_batches(count: int, expected: list[int]) -> None:
    assert [len(b) for b in batches(range(count))] == expected


def test_parity_is_the_largest_difference_of_a_score() -> None:
    images = [image(20 * k) for k in range(12)]

    def moved(batch: np.ndarray) -> np.ndarray:
        logits = brightness(batch)
        logits[:, 0] += np.where(np.isclose(batch[:, 0, 0, 0] * 255, 100), 1.0, 0.0)
        return logits

    spec = manifest(Task.MULTILABEL)
    assert parity(spec, brightness, brightness, images) == 0.0
    at = 0.5 - 100 / 255
    expected = 1 / (1 + np.exp(-at - 1)) - 1 / (1 + np.exp(-at))
    assert parity(spec, moved, brightness, images) == pytest.approx(expected, abs=1e-6)


def test_a_second_look_is_compared_as_well() -> None:
    learned = SecondLook(lambda batch: np.full((len(batch), 3), 0.2, np.float32), Input(4, 4, "stretch"))
    other = SecondLook(lambda batch: np.full((len(batch), 3), 0.5, np.float32), Input(4, 4, "stretch"))
    assert parity_of_second(learned, learned, [image(0)] * 9) == 0.0
    assert parity_of_second(other, learned, [image(0)] * 9) == pytest.approx(0.3)


def test_a_network_that_says_nan_is_not_like_another() -> None:
    def broken(batch: np.ndarray) -> np.ndarray:
        return brightness(batch) * np.float32(np.nan)

    assert np.isnan(parity(manifest(Task.CLASSIFICATION), broken, brightness, [image(0)]))
