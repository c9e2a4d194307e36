from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tenshot.automl.bundle import Base, Input, Manifest, Suppression, write_manifest
from tenshot.automl.predictor import FITS, RUNTIMES, Predictor, letterbox_geometry, prepare, suppress
from tenshot.automl.scores import Calibration
from tenshot.projects.errors import BundleError
from tenshot.projects.status import Task

SQUARE = Input(4, 4, "stretch")
BASE = Base("b", "0" * 64, "MIT", "s")


def manifest(task: Task = Task.CLASSIFICATION, **changes: object) -> Manifest:
    kinds = {Task.CLASSIFICATION: "softmax", Task.MULTILABEL: "sigmoid", Task.DETECTION: "platt"}
    plain = Manifest(
        project="p", version=1, task=task, labels=("a", "b", "c"), thresholds={"a": 0.5, "b": 0.3, "c": 0.0001},
        calibration=Calibration(kinds[task]), input=SQUARE, base=BASE,  # type: ignore[arg-type]
        dataset_version=1, dataset_sha256="", created_at=0.0, seed=0,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def columns(*values: int) -> np.ndarray:
    """Two rows; each value is a column of grey."""
    return np.repeat(np.array([[values, values]], np.uint8).transpose(1, 2, 0), 3, axis=2)


class TestPrepare:
    @pytest.mark.parametrize(
        ("spec", "image", "expected"),
        [
            # 8 × 2 → the middle 2 × 2, nothing scaled
            pytest.param(Input(2, 2, "crop"), columns(0, 1, 2, 30, 40, 5, 6, 7), [[30, 40]] * 2, id="crop-wide"),
            # scaled to 4 × 4 / 0.5 → the 2 × 2 in the middle of 4 × 4
            pytest.param(
                Input(2, 2, "crop", crop_ratio=0.5),
                np.repeat(columns(0, 10, 20, 30), 2, axis=0), [[10, 20]] * 2, id="crop-ratio",
            ),
            # 8 × 2 → 2 × 2: each output pixel is the mean of four columns
            pytest.param(Input(2, 2, "stretch"), columns(0, 4, 8, 12, 100, 104, 108, 112), [[6, 106]] * 2, id="half"),
            # 8 × 2 → 4 × 1, grey above and below: (4 - 1) // 2 = 1 row above
            pytest.param(
                Input(4, 4, "letterbox"), columns(0, 4, 8, 12, 100, 104, 108, 112),
                [[114] * 4, [2, 10, 102, 110], [114] * 4, [114] * 4], id="letterbox-wide",
            ),
            # 2 × 2 → 4 × 4 in a 6 wide input: one grey column left and right
            pytest.param(
                Input(2, 4, "letterbox"), columns(10, 20), [[114, 10, 20, 114]] * 2, id="letterbox-square",
            ),
        ],
    )  # fmt: skip
    def test_pixels_by_hand(self, spec: Input, image: np.ndarray, expected: list[list[int]]) -> None:
        found = prepare(image, spec)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        for channel in found:
            np.testing.assert_allclose(channel * 255, expected, atol=1e-4)

    def test_tall_image_is_the_wide_one_on_its_side(self) -> None:
        wide = np.random.default_rng(0).integers(0, 255, (20, 50, 3), np.uint8)
        for fit in ("crop", "stretch", "letterbox"):
            spec = Input(16, 16, fit)  # type: ignore[arg-type]
            turned = prepare(np.ascontiguousarray(wide.transpose(1, 0, 2)), spec)
            np.testing.assert_allclose(turned, prepare(wide, spec).transpose(0, 2, 1), atol=1.01 / 255)

    @pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
    def test_values_are_those_of_the_arithmetic_to_the_last_bit(self, fit) -> None:
        spec = Input(32, 32, fit, 0.89, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
        fitted = FITS[fit](image, spec).astype(np.float32) / 255.0
        normal = (fitted - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
        found = prepare(image, spec)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, normal.transpose(2, 0, 1))

    def test_channels_mean_and_spread(self) -> None:
        red = np.zeros((4, 4, 3), np.uint8)
        red[..., 0] = 255
        found = prepare(red, Input(4, 4, "stretch", mean=(0.5, 0.5, 0.0), std=(0.5, 0.25, 1.0)))
        assert [float(c[0, 0]) for c in found] == [1.0, -2.0, 0.0]

    @pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
    @settings(max_examples=40, deadline=None)
    @given(height=st.integers(1, 90), width=st.integers(1, 90))
    def test_any_size(self, fit: str, height: int, width: int) -> None:
        spec = Input(32, 24, fit)  # type: ignore[arg-type]
        found = prepare(np.full((height, width, 3), 200, np.uint8), spec)
        assert found.shape == (3, 32, 24)
        inside = np.isclose(found * 255, 200)
        assert inside.any()
        assert inside.all() or fit == "letterbox"


def output(*rows: tuple[float, ...]) -> np.ndarray:
    """Rows (centre x, y, width, height, score of each class) → [4 + C, A]"""
    return np.array(rows, np.float32).T


BOX = Input(64, 64, "letterbox")


class TestSuppress:
    def test_overlaps_of_one_class(self) -> None:
        # IoU of the first two: 8 × 10 / (2 × 100 - 80) = 0.667
        raw = output((20, 20, 10, 10, 0.8, 0), (22, 20, 10, 10, 0.9, 0), (50, 50, 10, 10, 0.7, 0))
        found = suppress(raw, (64, 64), BOX, Suppression(iou=0.6))
        np.testing.assert_allclose(found.score, [0.9, 0.7], rtol=1e-6)
        np.testing.assert_allclose(found.xyxy * 64, [[17, 15, 27, 25], [45, 45, 55, 55]], atol=1e-4)
        assert len(suppress(raw, (64, 64), BOX, Suppression(iou=0.7))) == 3

    def test_class_by_class_or_all_together(self) -> None:
        raw = output((20, 20, 10, 10, 0.8, 0), (20, 20, 10, 10, 0, 0.9))
        assert suppress(raw, (64, 64), BOX, Suppression()).label.tolist() == [1, 0]
        assert suppress(raw, (64, 64), BOX, Suppression(class_agnostic=True)).label.tolist() == [1]

    def test_one_anchor_can_carry_two_classes(self) -> None:
        raw = output((20, 20, 10, 10, 0.8, 0.4))
        found = suppress(raw, (64, 64), BOX, Suppression())
        assert list(zip(found.label.tolist(), found.score.round(3).tolist(), strict=True)) == [(0, 0.8), (1, 0.4)]

    def test_limits(self) -> None:
        raw = output(*((8 + 12 * i, 20, 10, 10, 0.9 - 0.2 * i) for i in range(4)))
        assert suppress(raw, (64, 64), BOX, Suppression(max_detections=2)).score.round(3).tolist() == [0.9, 0.7]
        assert suppress(raw, (64, 64), BOX, Suppression(min_score=0.45)).score.round(3).tolist() == [0.9, 0.7, 0.5]

    def test_nothing(self) -> None:
        found = suppress(output((20, 20, 10, 10, 0.0)), (64, 64), BOX, Suppression())
        assert found.xyxy.shape == (0, 4)
        assert len(found) == 0

    def test_outside_is_cut(self) -> None:
        found = suppress(output((0, 60, 20, 20, 0.9)), (64, 64), BOX, Suppression())
        np.testing.assert_allclose(found.xyxy, [[0, 50 / 64, 10 / 64, 1]], atol=1e-6)

    @settings(max_examples=80, deadline=None)
    @given(
        hw=st.tuples(st.integers(3, 3000), st.integers(3, 3000)),
        edges=st.tuples(*[st.floats(0, 1) for _ in range(4)]),
    )
    def test_ratios_come_back_through_the_letterbox(
        self, hw: tuple[int, int], edges: tuple[float, float, float, float]
    ) -> None:
        """Where `prepare` draws a box of the image is where `suppress` finds it, on any odd size."""
        spec = Input(320, 256, "letterbox")
        scale, left, top = letterbox_geometry(hw, spec)
        drawn_h, drawn_w = max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))
        x0, x1, y0, y1 = *sorted(edges[:2]), *sorted(edges[2:])
        ratios = np.array([x0, y0, x1, y1])
        px = ratios * [drawn_w, drawn_h, drawn_w, drawn_h] + [left, top, left, top]
        raw = np.array([[(px[0] + px[2]) / 2, (px[1] + px[3]) / 2, px[2] - px[0], px[3] - px[1], 0.9]]).T
        (found,) = suppress(raw, hw, spec, Suppression()).xyxy
        np.testing.assert_allclose(found, ratios, atol=1e-6)

    @pytest.mark.parametrize("hw", [(37, 101), (101, 37), (33, 33), (1, 200)], ids=str)
    def test_geometry_is_what_prepare_draws(self, hw: tuple[int, int]) -> None:
        spec = Input(64, 48, "letterbox")
        drawn = prepare(np.full((*hw, 3), 255, np.uint8), spec)[0] > 0.9
        rows, columns_ = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        scale, left, top = letterbox_geometry(hw, spec)
        assert (columns_[0], rows[0]) == (left, top)
        assert (len(columns_), len(rows)) == (max(1, round(hw[1] * scale)), max(1, round(hw[0] * scale)))


class TestPredict:
    """A network that answers with fixed logits: what the predictor makes of them."""

    def predictor(self, task: Task, probabilities: list[float]) -> Predictor:
        p = np.array(probabilities)
        raw = np.log(p) if task is Task.CLASSIFICATION else np.log(p / (1 - p))
        return Predictor(manifest(task), lambda batch: np.tile(raw.astype(np.float32), (len(batch), 1)))

    @pytest.mark.parametrize(
        ("min_confidence", "max_results", "expected"),
        [
            pytest.param(None, None, ["b", "c"], id="own thresholds"),  # a has 0.2 < 0.5
            pytest.param(0, None, ["b", "a", "c"], id="everything"),
            pytest.param(20.5, None, ["b"], id="one for all"),
            pytest.param(None, 1, ["b"], id="the best"),
            pytest.param(0, 0, [], id="no results"),
            pytest.param(100, None, [], id="certain only"),
        ],
    )
    def test_limits_and_order(self, min_confidence: float | None, max_results: int | None, expected: list[str]) -> None:
        predictor = self.predictor(Task.CLASSIFICATION, [0.2, 0.7, 0.1])
        (found,) = predictor.predict([columns(1, 2)], min_confidence=min_confidence, max_results=max_results)
        assert [p.name for p in found] == expected
        assert [p.confidence for p in found] == sorted((p.confidence for p in found), reverse=True)

    def test_confidence_is_percent(self) -> None:
        (found,) = self.predictor(Task.MULTILABEL, [0.2, 0.7, 0.9]).predict([columns(1, 2)])
        assert [(p.name, round(p.confidence, 3), p.box) for p in found] == [("c", 90.0, None), ("b", 70.0, None)]

    def test_no_images(self) -> None:
        predictor = self.predictor(Task.MULTILABEL, [0.2, 0.7, 0.9])
        assert predictor.predict([]) == []
        assert predictor.scores([]).shape == (0, 3)

    def test_detection(self) -> None:
        raw = output((10, 10, 8, 8, 0.4, 0, 0), (40, 40, 8, 8, 0, 0.4, 0), (40, 10, 8, 8, 0, 0, 0.9))
        spec = manifest(Task.DETECTION, input=BOX, suppression=Suppression())
        predictor = Predictor(spec, lambda batch: np.stack([raw] * len(batch)))
        image = np.zeros((64, 64, 3), np.uint8)
        (own,), (all_,) = predictor.predict([image]), predictor.predict([image], min_confidence=0)
        assert [p.name for p in own] == ["c", "b"]
        assert [p.name for p in all_] == ["c", "a", "b"]
        assert own[0].box is not None
        assert own[0].to_json()["box"] == pytest.approx(
            {"left": 36 / 64, "top": 6 / 64, "width": 1 / 8, "height": 1 / 8}
        )
        assert len(predictor.predict([image], max_results=1)[0]) == 1


Make = Callable[..., Path]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A network without training: channel means, as logits."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 4, 4])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 3])
    node = helper.make_node("ReduceMean", ["images", "axes"], ["output"], keepdims=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    graph = helper.make_graph([node], "means", [images], [result], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    openvino.save_model(openvino.convert_model(tmp_path / "model.onnx"), tmp_path / "model.xml", compress_to_fp16=False)
    write_manifest(tmp_path, manifest())
    return tmp_path


class TestRuntimes:
    def test_agree(self, bundle: Path) -> None:
        images = [np.random.default_rng(i).integers(0, 255, (5 + i, 7, 3), np.uint8) for i in range(3)]
        found = {name: Predictor.load(bundle, runtime=name, threads=1).scores(images) for name in RUNTIMES}
        np.testing.assert_allclose(found["openvino"], found["onnxruntime"], atol=1e-6)
        means = np.stack([prepare(i, SQUARE).mean((1, 2)) for i in images])
        np.testing.assert_allclose(found["openvino"], Calibration("softmax").apply(means), atol=1e-6)

    @pytest.mark.parametrize("runtime", list(RUNTIMES))
    def test_one_image_alone_is_as_in_a_batch(self, bundle: Path, runtime: str) -> None:
        predictor = Predictor.load(bundle, runtime=runtime)
        images = [columns(1, 2), columns(200, 100)]
        np.testing.assert_allclose(predictor.raw(images)[1:], predictor.raw(images[1:]), atol=1e-6)

    @pytest.mark.parametrize("name", ["model.onnx", "model.xml", "model.bin"])
    def test_a_changed_or_missing_file_is_refused(self, bundle: Path, name: str) -> None:
        data = (bundle / name).read_bytes()
        (bundle / name).write_bytes(data + b"x")
        with pytest.raises(BundleError, match=f"{name} is damaged"):
            Predictor.load(bundle)
        (bundle / name).unlink()
        with pytest.raises(BundleError, match=f"{name} is missing"):
            Predictor.load(bundle)

    @pytest.mark.parametrize("runtime", list(RUNTIMES))
    def test_unchecked_damage_is_refused_by_the_runtime(self, bundle: Path, runtime: str) -> None:
        for name in ("model.onnx", "model.xml"):
            (bundle / name).write_bytes(b"not a network")
        with pytest.raises(BundleError, match="cannot load"):
            Predictor.load(bundle, runtime=runtime, check=False)
        for name in ("model.onnx", "model.xml"):
            (bundle / name).unlink()
        with pytest.raises(BundleError, match="cannot load"):
            Predictor.load(bundle, runtime=runtime, check=False)
