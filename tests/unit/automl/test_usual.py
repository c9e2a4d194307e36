"""What a bundle tells of its training images, and what is told of an image that is answered."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome
from tenshot.automl.novelty import Novelty, unit
from tenshot.automl.scores import Calibration
from tenshot.automl.training import familiar
from tenshot.automl.training.run import _usual
from tenshot.automl.usual import FILE, Usual, box_signals, of_boxes, student_quantiles
from tenshot.projects.errors import BundleError


def novelty(count: int) -> Novelty:
    random = np.random.default_rng(count)
    rows = unit((1.0 + 0.3 * random.normal(size=(count, 64))).astype("f4"))
    found = familiar.fit(rows, np.arange(count))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("freedom", [2, 3, 11, 101, 1001])
def test_quantiles_are_those_of_scipy(freedom: int) -> None:
    shares = np.array([0.001, 0.05, 0.3, 0.5, 0.95, 0.999])
    np.testing.assert_allclose(student_quantiles(shares, freedom), stats.t.ppf(shares, freedom), rtol=2e-3, atol=1e-3)


class TestClassifier:
    def test_keeps_each_training_image_among_the_others(self, tmp_path: Path) -> None:
        written = novelty(30)
        written.save(tmp_path)
        found = Usual.load(tmp_path)
        assert found is not None
        assert written.alone is not None
        np.testing.assert_allclose(found.signals["strangeness"], np.sort(written.alone))

    @pytest.mark.parametrize("count", [10, 40, 300])
    def test_of_an_older_bundle_the_curve_tells(self, count: int, tmp_path: Path) -> None:
        known = novelty(count)
        Novelty(known.rows, known.strangeness, known.kept).save(tmp_path)
        found = Usual.load(tmp_path)
        assert found is not None
        guessed = found.signals["strangeness"]
        assert known.alone is not None
        assert len(guessed) == count
        assert guessed.mean() == pytest.approx(known.alone.mean(), abs=0.02)
        # The curve is wider for few images, since it counts imagined ones too.
        assert 0.9 * known.alone.std() < guessed.std() < max(0.35, 1.3 * known.alone.std())

    def test_of_a_bundle_without_descriptors_nothing(self, tmp_path: Path) -> None:
        assert Usual.load(tmp_path) is None


class TestDetector:
    BOXES = Boxes(
        np.array([[0.0, 0.0, 0.5, 0.5], [0.1, 0.1, 0.2, 0.2], [0.0, 0.0, 1.0, 1.0]]), np.array([0, 1, 0]),
        np.array([0.9, 0.6, 0.2]), np.ones(3),
    )  # fmt: skip
    NONE = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))

    def test_signals_by_hand(self) -> None:
        boxes = self.BOXES
        own = boxes.score >= np.array([0.5, 0.7])[boxes.label]
        assert box_signals(boxes.xyxy, boxes.score, own) == {"confidence": 0.9, "boxes": 1.0, "side": 0.5}
        assert box_signals(self.NONE.xyxy, self.NONE.score, np.zeros(0, bool)) == {"confidence": 0.0, "boxes": 0.0}

    def test_round_trip(self, tmp_path: Path) -> None:
        usual = of_boxes([self.BOXES, self.NONE], np.array([0.5, 0.5]))
        assert usual is not None
        usual.save(tmp_path)
        found = Usual.load(tmp_path)
        assert found is not None
        assert {name: values.tolist() for name, values in found.signals.items()} == {
            "confidence": [0.0, 0.9], "boxes": [0.0, 2.0], "side": [pytest.approx((0.25 * 0.5 + 0.01 * 0.5) ** 0.5)],
        }  # fmt: skip
        assert of_boxes([], np.zeros(2)) is None

    def test_training_writes_what_it_found_in_images_that_were_held_out(self) -> None:
        held_out = DetectionOutcome(("a", "b"), ("1", "2"), (self.NONE, self.NONE), (self.BOXES, self.NONE))
        limits, scaling = {"a": 0.5, "b": 0.95}, Calibration("platt")
        usual = _usual(SimpleNamespace(oof=held_out, labels=("a", "b")), scaling, limits)  # type: ignore[arg-type]
        assert usual is not None
        assert set(usual.signals) == {"confidence", "boxes", "side"}
        assert usual.signals["boxes"].tolist() == [0.0, (scaling.apply(np.ones(3)) >= [0.5, 0.95, 0.5]).sum()]
        assert _usual(SimpleNamespace(oof=None), scaling, limits) is None  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            pytest.param(None, "is damaged", id="no zip"),
            pytest.param({"height": np.ones(2)}, "holds no samples", id="unknown signal"),
            pytest.param({"boxes": np.ones(0)}, "holds no samples", id="no value"),
            pytest.param({"boxes": np.array([np.nan])}, "holds no samples", id="not a number"),
        ],
    )
    def test_refused(self, arrays: dict[str, np.ndarray] | None, message: str, tmp_path: Path) -> None:
        if arrays is None:
            (tmp_path / FILE).write_bytes(b"PK")
        else:
            np.savez(tmp_path / FILE, **arrays)  # type: ignore[arg-type]
        with pytest.raises(BundleError, match=message):
            Usual.load(tmp_path)
