"""How unlike the training images an image is: the curve, what is learned for it, and what it does to answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenshot.automl.bundle import Base, Input, Manifest
from tenshot.automl.novelty import FILE, Novelty, of_gap, strangeness, unit
from tenshot.automl.predictor import Predictor
from tenshot.automl.scores import Calibration
from tenshot.automl.training import familiar
from tenshot.datasets.annotations import Entry
from tenshot.projects.errors import BundleError
from tenshot.projects.status import Task

CURVE = (np.array([-1.0, 0.0, 1.0]), np.array([1.0, 0.5, 1e-4]))


def cloud(count: int, *, seed: int = 0, width: int = 64, spread: float = 0.3) -> np.ndarray:
    """Descriptors around one direction."""
    random = np.random.default_rng(seed)
    return unit((np.ones(width) / width**0.5 + spread * random.normal(size=(count, width)) / width**0.5).astype("f4"))


def learned(count: int = 20, **more: float) -> Novelty:
    found = familiar.fit(cloud(count, **more), np.arange(count))  # type: ignore[arg-type]
    assert found is not None
    return found[0]


class TestCurve:
    def test_by_hand(self) -> None:
        """At 60° the cosine is ½: strangeness 0. A row found again is as near as can be."""
        novelty = Novelty(np.eye(2, dtype=np.float32), *CURVE)
        at_60 = np.array([[0.0, 0.0]], np.float32)
        rows = np.array([[1.0, 0.0, 0.0]], np.float32)
        turned = np.array([[0.5, 0.75**0.5, 0.0]], np.float32)
        assert strangeness(turned, rows)[0] == pytest.approx(0.0, abs=1e-6)
        assert novelty.of(np.array([[0.0, 1.0]], np.float32)) == pytest.approx([0.0])
        assert Novelty(rows, *CURVE).of(turned) == pytest.approx([0.5], abs=1e-6)
        assert Novelty(rows, *CURVE).of(-rows) == pytest.approx([1 - 1e-4])
        assert np.isfinite(novelty.of(at_60)).all()

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.floats(0, 2), min_size=2, max_size=20))
    def test_falls_with_distance_and_stays_inside(self, gaps: list[float]) -> None:
        seen = of_gap(np.sort(gaps))
        assert (np.diff(seen) >= 0).all()
        novelty = learned()
        kept = np.interp(seen, novelty.strangeness, novelty.kept)
        assert (np.diff(kept) <= 0).all()
        assert ((kept > 0) & (kept <= 1)).all()

    def test_order_of_labels_is_kept(self) -> None:
        scores = np.random.default_rng(0).random((50, 7))
        rest = 1.0 - learned().of(cloud(50, seed=1, spread=9.0))
        assert ((scores * rest[:, None]).argsort(axis=1) == scores.argsort(axis=1)).all()


class TestFit:
    @pytest.mark.parametrize("count", [5, 10, 60, 300])
    def test_of_the_same_kind_few_lose(self, count: int) -> None:
        losers = [(learned(count, seed=s).of(cloud(400, seed=1000 + s)) > 0.1).mean() for s in range(20)]
        assert np.mean(losers) <= 0.06

    @pytest.mark.parametrize("count", [2, 5, 10, 300])
    def test_far_ones_keep_next_to_nothing(self, count: int) -> None:
        far = unit(np.random.default_rng(9).normal(size=(100, 64)).astype("f4"))
        assert np.median(learned(count).of(far)) > 0.9

    def test_leaves_out_near_duplicates(self) -> None:
        """Every image twice: without groups a copy would be its nearest and nothing new near enough."""
        rows = cloud(10)
        twice, groups = np.concatenate([rows, rows]), np.tile(np.arange(10), 2)
        grouped, alone = familiar.fit(twice, groups), familiar.fit(rows, np.arange(10))
        careless = familiar.fit(twice, np.arange(20))
        assert grouped is not None
        assert alone is not None
        assert careless is not None
        fresh = cloud(200, seed=5)
        assert (grouped[0].of(fresh) > 0.1).mean() < 0.12
        assert (careless[0].of(fresh) > 0.1).mean() > 0.9
        np.testing.assert_allclose(grouped[0].strangeness[0], alone[0].strangeness[0], atol=0.2)

    def test_own_novelty_is_that_of_an_image_left_out(self) -> None:
        rows = np.concatenate([cloud(30), -cloud(1)])
        found = familiar.fit(rows, np.arange(31))
        assert found is not None
        assert found[1].shape == (31,)
        assert found[1].argmax() == 30
        assert found[1][30] > 0.5
        assert found[0].of(rows).max() < 1e-6, "what is stored is no longer strange"

    @pytest.mark.parametrize("groups", [[0], [3, 3, 3]], ids=["one image", "near duplicates only"])
    def test_nothing_to_compare(self, groups: list[int]) -> None:
        assert familiar.fit(cloud(len(groups)), np.array(groups)) is None

    def test_identical_descriptors(self) -> None:
        """Photos that the network cannot tell apart: no division by a spread of 0."""
        found = familiar.fit(np.repeat(cloud(1), 6, axis=0), np.arange(6))
        assert found is not None
        assert found[0].of(cloud(1))[0] == 0.0
        assert found[0].of(-cloud(1))[0] > 0.99

    def test_many_images_are_drawn_evenly_from_the_labels(self) -> None:
        entries = [Entry(f"{i}", f"{i}.png", 1, 1, "train", ("rare",) if i < 3 else ("usual",)) for i in range(5000)]
        chosen = familiar.spread_over_labels(entries, 1000, 0)
        assert len({e.image for e in chosen}) == 1000
        assert sum(e.labels == ("rare",) for e in chosen) == 3
        assert [e.image for e in chosen] == [e.image for e in familiar.spread_over_labels(entries, 1000, 0)]


class TestFile:
    def test_round_trip(self, tmp_path: Path) -> None:
        written = learned(50)
        written.save(tmp_path)
        found = Novelty.load(tmp_path)
        assert found is not None
        fresh = np.concatenate([cloud(30, seed=3), cloud(30, seed=3, spread=2.0)])
        np.testing.assert_allclose(found.of(fresh), written.of(fresh), atol=1e-4)

    def test_stays_small(self, tmp_path: Path) -> None:
        learned(familiar.MOST_ROWS, width=1280).save(tmp_path)
        assert (tmp_path / FILE).stat().st_size < 3_000_000

    def test_a_bundle_without_one(self, tmp_path: Path) -> None:
        assert Novelty.load(tmp_path) is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            pytest.param(b"", "is damaged", id="empty"),
            pytest.param(b"PK\x03\x04 not a zip", "is damaged", id="no zip"),
            pytest.param({"rows": None}, "is damaged", id="without rows"),
            pytest.param({"rows": np.zeros((0, 4), np.float16)}, "no falling curve", id="no row"),
            pytest.param({"kept": np.array([0.5, 1.0, 0.1])}, "no falling curve", id="rises"),
            pytest.param({"kept": np.array([1.0, 0.5, 0.0])}, "no falling curve", id="ends in nothing"),
            pytest.param({"kept": np.array([1.0, 0.5])}, "no falling curve", id="of another length"),
        ],
    )
    def test_refused(self, tmp_path: Path, change: object, message: str) -> None:
        arrays = {"rows": np.eye(4, dtype=np.float16), "strangeness": CURVE[0], "kept": CURVE[1]}
        if isinstance(change, dict):
            arrays |= change
            np.savez(tmp_path / FILE, **{k: v for k, v in arrays.items() if v is not None})  # type: ignore[arg-type]
        else:
            (tmp_path / FILE).write_bytes(change)  # type: ignore[arg-type]
        with pytest.raises(BundleError, match=message):
            Novelty.load(tmp_path)


PLAIN = Manifest(
    project="p", version=1, task=Task.CLASSIFICATION, labels=("a", "b"), thresholds={"a": 0.5, "b": 0.5},
    calibration=Calibration("softmax"), input=Input(4, 4, "stretch"), base=Base("b", "0" * 64, "MIT", "s"),
    dataset_version=1, dataset_sha256="", created_at=0.0, seed=0,
)  # fmt: skip
NEAR, FAR = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)


def network(batch: np.ndarray) -> np.ndarray:
    """Sure of `a` whatever it sees; dark images lie at the first axis, bright ones at the second."""
    bright = batch.mean(axis=(1, 2, 3)) > 0.5
    logits = np.tile(np.array([4.0, 0.0], np.float32), (len(batch), 1))
    return np.concatenate([logits, np.eye(2, dtype=np.float32)[bright.astype(int)]], axis=1)


class TestPredictor:
    def predictor(self, task: Task = Task.CLASSIFICATION) -> Predictor:
        kind = "softmax" if task is Task.CLASSIFICATION else "sigmoid"
        spec = replace(PLAIN, task=task, calibration=Calibration(kind))  # type: ignore[arg-type]
        return Predictor(spec, network, Novelty(np.eye(2, dtype=np.float32)[:1], *CURVE))

    @pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.MULTILABEL])
    def test_near_is_unchanged_and_far_gets_nothing(self, task: Task) -> None:
        predictor = self.predictor(task)
        plain = predictor.manifest.calibration.apply(np.array([[4.0, 0.0]]))
        scores = predictor.scores([NEAR, FAR])
        np.testing.assert_allclose(scores[:1], plain)
        np.testing.assert_allclose(scores[1:], plain * 1e-4)
        near, far = predictor.predict([NEAR, FAR])
        assert "a" in [p.name for p in near]
        assert far == []

    def test_everything_on_request(self) -> None:
        (far,) = self.predictor().predict([FAR], min_confidence=0)
        assert [p.name for p in far] == ["a", "b"]
        assert sum(p.confidence for p in far) == pytest.approx(0.01)

    def test_answer_carries_it(self) -> None:
        predictor = self.predictor()
        near, far = (predictor.answer(row, (4, 4)) for row in predictor.look([NEAR, FAR]))
        assert (near["novelty"], far["novelty"]) == (0.0, 0.9999)
        assert [label["name"] for label in near["labels"]] == ["a"]
        assert far["labels"] == []

    def test_logits_are_told_from_descriptors(self) -> None:
        predictor = self.predictor()
        assert predictor.raw([NEAR]).tolist() == [[4.0, 0.0]]
        assert predictor.features(predictor.look([NEAR])).tolist() == [[1.0, 0.0]]
        assert predictor.scores([]).shape == (0, 2)
        assert predictor.predict([]) == []

    def test_a_network_without_descriptors_answers_as_before(self) -> None:
        predictor = Predictor(PLAIN, lambda batch: network(batch)[:, :2])
        (found,) = predictor.predict([FAR])
        assert found[0].confidence == pytest.approx(100 / (1 + np.exp(-4.0)))
        assert predictor.answer(predictor.look([FAR])[0], (4, 4)) == {"labels": [found[0].to_json()]}
        assert predictor.novelties(predictor.look([FAR])) is None
