"""A bundle that answers: upright RGB images in, labels with confidences and boxes out.

OpenVINO or ONNX Runtime, numpy and OpenCV; no torch. The endpoint, `tenshot predict` and `tenshot evaluate` all
answer through this one class, and training checks its export against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tenshot.automl.bundle import Input, Manifest, Suppression, read_manifest, verify
from tenshot.automl.evaluation.outcomes import Boxes, Floats
from tenshot.automl.novelty import Novelty, strangeness
from tenshot.automl.second_look import CONTEXT, SecondLook
from tenshot.automl.usual import box_signals
from tenshot.datasets.annotations import Box
from tenshot.projects.errors import BundleError
from tenshot.projects.status import Task

RGB = NDArray[np.uint8]
"""[H, W, 3], upright."""
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""[N, 3, H, W] → the network's output; safe to call from several threads. Where a classifier has descriptors as well,
they stand behind the logits: [N, C + D]."""

PAD = 114


@dataclass(frozen=True, slots=True)
class Prediction:
    name: str
    confidence: float
    """0…100."""
    box: Box | None

    def to_json(self) -> dict[str, Any]:
        box = self.box and {k: getattr(self.box, k) for k in ("left", "top", "width", "height")}
        return {"name": self.name, "confidence": self.confidence, "box": box}


@dataclass(frozen=True, slots=True)
class Observation:
    """One image as it was answered, and numbers of it that say nothing of what it shows."""

    document: dict[str, Any]
    """JSON values: `labels`, and where the bundle can tell it `novelty`, 0…1."""
    best: float
    """0…1: the best label's score, above its threshold or not; 0 where there is none."""
    sure: bool
    """Whether a label reached its own threshold."""
    signals: dict[str, float]
    """What drift is told from (automl/usual.py); empty if this bundle knows nothing to compare with."""


class Predictor:
    """One loaded bundle. Thread-safe."""

    def __init__(
        self, manifest: Manifest, network: Network, novelty: Novelty | None = None, second: SecondLook | None = None
    ) -> None:
        self.manifest = manifest
        self.network = network
        self.novelty = novelty
        self.second = second
        self._thresholds = np.array([manifest.thresholds.get(name, 0.5) for name in manifest.labels])

    @classmethod
    def load(cls, directory: Path, *, runtime: str = "openvino", threads: int = 0, check: bool = True) -> Predictor:
        """Read, verify (unless `check` is False) and compile. Raises BundleError."""
        manifest = read_manifest(directory)
        if check:
            verify(directory, manifest)
        second = SecondLook.load(directory, RUNTIMES[runtime], threads)
        return cls(manifest, RUNTIMES[runtime](directory, threads), Novelty.load(directory), second)

    def predict(
        self, images: Sequence[RGB], *, min_confidence: float | None = None, max_results: int | None = None
    ) -> list[list[Prediction]]:
        """Best first. `min_confidence` (0…100) replaces every label's own threshold; 0 gives everything."""
        return [
            self.read(row, image.shape[:2], min_confidence=min_confidence, max_results=max_results)
            for row, image in zip(self.look(images), images, strict=True)
        ]

    def read(
        self,
        raw: NDArray[np.float32],
        image_hw: tuple[int, ...],
        *,
        min_confidence: float | None = None,
        max_results: int | None = None,
    ) -> list[Prediction]:
        """What the network's output for one image ([C], [C + D], or [4 + C, A]) says, best first; `image_hw` in pixels.

        Labels of an image unlike the training images keep little of their confidence, all the same share."""
        if self.manifest.task is Task.DETECTION:
            boxes = suppress(raw, image_hw, self.manifest.input, self.manifest.suppression or Suppression())
            return self._boxes_above(self._calibrated(boxes), min_confidence)[:max_results]
        return self._labels_above(self.judge(raw[None], self.novelties(raw[None]))[0], min_confidence)[:max_results]

    def answer(
        self,
        raw: NDArray[np.float32],
        image_hw: tuple[int, ...],
        *,
        min_confidence: float | None = None,
        max_results: int | None = None,
    ) -> dict[str, Any]:
        """The same as JSON values: `labels`, and where the bundle can tell it `novelty`, 0…1."""
        return self.observe(raw, image_hw, min_confidence=min_confidence, max_results=max_results).document

    def observe(
        self,
        raw: NDArray[np.float32],
        image_hw: tuple[int, ...],
        *,
        min_confidence: float | None = None,
        max_results: int | None = None,
    ) -> Observation:
        """The same with what its operator may count of it, from one reading of the network's output."""
        if self.manifest.task is Task.DETECTION:
            boxes = suppress(raw, image_hw, self.manifest.input, self.manifest.suppression or Suppression())
            return self._observed_boxes(self._calibrated(boxes), min_confidence, max_results)
        strange = None if self.novelty is None else strangeness(self.features(raw[None]), self.novelty.rows)
        novelty = None if self.novelty is None or strange is None else self.novelty.at(strange)
        scores = self.judge(raw[None], novelty)[0]
        found = self._labels_above(scores, min_confidence)[:max_results]
        document: dict[str, Any] = {"labels": [label.to_json() for label in found]}
        signals = {}
        if novelty is not None and strange is not None:
            document["novelty"] = round(float(novelty[0]), 4)
            signals["strangeness"] = float(strange[0])
        return Observation(document, float(scores.max()), bool((scores >= self._thresholds).any()), signals)

    def _observed_boxes(self, boxes: Boxes, min_confidence: float | None, max_results: int | None) -> Observation:
        found = self._boxes_above(boxes, min_confidence)[:max_results]
        own = boxes.score >= self._thresholds[boxes.label]
        document = {"labels": [label.to_json() for label in found]}
        best = float(boxes.score.max()) if len(boxes) else 0.0
        return Observation(document, best, bool(own.any()), box_signals(boxes.xyxy, boxes.score, own))

    def scores(self, images: Sequence[RGB]) -> Floats:
        """[N, C] scores of a classifier as they are served, 0…1."""
        rows = self.look(images)
        return self.judge(rows, self.novelties(rows))

    def judge(self, rows: NDArray[np.float32], novelty: Floats | None) -> Floats:
        """[N, C] scores of a classifier, 0…1, from its output: calibrated, times what novelty [N] leaves of them."""
        scores = self.manifest.calibration.apply(self.logits(rows))
        return scores if novelty is None else scores * (1.0 - novelty)[:, None]

    def novelties(self, rows: NDArray[np.float32]) -> Floats | None:
        """[N] 0…1: how unlike all training images; None for a detector and for a bundle that cannot tell."""
        return None if self.novelty is None else self.novelty.of(self.features(rows))

    def logits(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, C] of a classifier's output."""
        return rows[:, : len(self.manifest.labels)]

    def features(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, D] descriptors in a classifier's output; D is 0 if it has none."""
        return rows[:, len(self.manifest.labels) :]

    def raw(self, images: Sequence[RGB]) -> NDArray[np.float32]:
        """Logits of a classifier before calibration, boxes of a detector before suppression."""
        rows = self.look(images)
        return rows if self.manifest.task is Task.DETECTION else self.logits(rows)

    def look(self, images: Sequence[RGB]) -> NDArray[np.float32]:
        """The network's whole output, a detector's after the second look if the bundle has one."""
        if not images:
            width = len(self.manifest.labels) + (self.novelty.rows.shape[1] if self.novelty else 0)
            return np.zeros((0, width), np.float32)
        rows = self.network(np.stack([prepare(image, self.manifest.input) for image in images]))
        if self.second is None:
            return rows
        return np.stack([self.again(row, image) for row, image in zip(rows, images, strict=True)])

    def again(self, raw: NDArray[np.float32], image: RGB) -> NDArray[np.float32]:
        """The network's output for one image after the second look; as it is if the bundle has none."""
        return raw if self.second is None else look_again(raw, image, self.manifest.input, self.second)

    def detect(self, images: Sequence[RGB]) -> list[Boxes]:
        """Every box above the suppression's `min_score`, best first, with calibrated scores."""
        suppression = self.manifest.suppression or Suppression()
        shapes = [image.shape[:2] for image in images]
        return [
            self._calibrated(suppress(output, shape, self.manifest.input, suppression))
            for output, shape in zip(self.raw(images), shapes, strict=True)
        ]

    def _calibrated(self, boxes: Boxes) -> Boxes:
        return Boxes(boxes.xyxy, boxes.label, self.manifest.calibration.apply(boxes.raw), boxes.raw)

    def _labels_above(self, scores: Floats, min_confidence: float | None) -> list[Prediction]:
        limits = self._thresholds if min_confidence is None else np.full(len(scores), min_confidence / 100)
        order = np.argsort(-scores, kind="stable")
        return [
            Prediction(self.manifest.labels[i], float(scores[i] * 100), None) for i in order if scores[i] >= limits[i]
        ]

    def _boxes_above(self, boxes: Boxes, min_confidence: float | None) -> list[Prediction]:
        limits = self._thresholds if min_confidence is None else np.full(len(self._thresholds), min_confidence / 100)
        keep = [i for i in range(len(boxes)) if boxes.score[i] >= limits[boxes.label[i]]]
        return [self._box(boxes, i) for i in keep]

    def _box(self, boxes: Boxes, i: int) -> Prediction:
        name = self.manifest.labels[boxes.label[i]]
        left, top, right, bottom = (float(v) for v in boxes.xyxy[i])
        return Prediction(name, float(boxes.score[i] * 100), Box(name, left, top, right - left, bottom - top))


def prepare(image: RGB, spec: Input) -> NDArray[np.float32]:
    """[3, H, W] float32 as `spec` says."""
    fitted = FITS[spec.fit](image, spec)
    # A look-up gives the very same numbers as the arithmetic does pixel by pixel, in an eighth of the time.
    planes = np.empty((3, *fitted.shape[:2]), np.float32)
    for channel, values in enumerate(_normalised(tuple(spec.mean), tuple(spec.std))):
        cv2.LUT(cv2.extractChannel(fitted, channel), values, dst=planes[channel])
    return planes


@cache
def _normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """[3, 256]: what each of the 256 values of a channel becomes."""
    scaled = np.arange(256, dtype=np.float32)[:, None] / np.float32(255.0)
    normal = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(normal.T)


def resize(image: RGB, width: int, height: int) -> RGB:
    """Area-averaging when it shrinks, bilinear when it grows: what a small network sees best of a large photo."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    return np.asarray(
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8
    )


def _crop(image: RGB, spec: Input) -> RGB:
    height, width = image.shape[:2]
    scale = max(spec.height / height, spec.width / width) / spec.crop_ratio
    grown = resize(image, max(spec.width, round(width * scale)), max(spec.height, round(height * scale)))
    top, left = (grown.shape[0] - spec.height) // 2, (grown.shape[1] - spec.width) // 2
    return grown[top : top + spec.height, left : left + spec.width]


def _stretch(image: RGB, spec: Input) -> RGB:
    return resize(image, spec.width, spec.height)


def _letterbox(image: RGB, spec: Input) -> RGB:
    scale, left, top = letterbox_geometry(image.shape[:2], spec)
    height, width = image.shape[:2]
    small = resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.full((spec.height, spec.width, 3), PAD, np.uint8)
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def letterbox_geometry(image_hw: tuple[int, ...], spec: Input) -> tuple[float, int, int]:
    """scale, left pad, top pad (pixels of the network's input)."""
    height, width = image_hw
    scale = min(spec.height / height, spec.width / width)
    left = (spec.width - round(width * scale)) // 2
    top = (spec.height - round(height * scale)) // 2
    return scale, max(0, left), max(0, top)


FITS: dict[str, Callable[[RGB, Input], RGB]] = {"crop": _crop, "stretch": _stretch, "letterbox": _letterbox}


def suppress(output: NDArray[Any], image_hw: tuple[int, ...], spec: Input, how: Suppression) -> Boxes:
    """From a detector's output [4 + C, A] (centre x, y, width, height in input pixels; scores 0…1) to boxes.

    Every (anchor, class) pair above `min_score` is a candidate, as in COCO's evaluation of YOLO; of overlapping ones
    (IoU above `iou`) of one class, or of any class if `class_agnostic`, the best-scored stays.
    """
    anchor: NDArray[np.int64]
    label: NDArray[np.int64]
    anchor, label = np.nonzero(how.min_score <= output[4:].T)
    score = output[4:].T[anchor, label].astype(np.float64)
    best = np.argsort(-score, kind="stable")[:MOST_CANDIDATES]
    anchor, label, score = anchor[best], label[best], score[best]
    x, y, w, h = output[:4, anchor].astype(np.float64)
    tlwh = np.stack([x - w / 2, y - h / 2, w, h], axis=1)
    shift = 0.0 if how.class_agnostic else (label * (4.0 * max(spec.height, spec.width)))[:, None]
    moved = tlwh + np.concatenate([np.broadcast_to(shift, (len(tlwh), 2)), np.zeros((len(tlwh), 2))], axis=1)
    picked = cv2.dnn.NMSBoxes(moved.tolist(), score.tolist(), how.min_score, how.iou)
    kept: NDArray[np.int64] = np.asarray(picked, np.int64).reshape(-1)
    kept = kept[: how.max_detections]
    xyxy = _to_ratios(tlwh[kept], image_hw, spec)
    return Boxes(xyxy, label[kept].astype(np.int64), score[kept], score[kept])


MOST_CANDIDATES = 3000


def look_again(output: NDArray[np.float32], image: RGB, spec: Input, second: SecondLook) -> NDArray[np.float32]:
    """A detector's output [4 + C, A] for `image`, with the scores that the second network gives its best boxes."""

    def cut(tlwh: Floats) -> NDArray[np.float32]:
        ratios = _to_ratios(tlwh, image.shape[:2], spec)
        return np.stack([prepare(cut_out(image, corners), second.input) for corners in ratios])

    return second.rescored(output, cut)


def cut_out(image: RGB, corners: Floats) -> RGB:
    """A box (left, top, right, bottom as ratios) with a little of its surroundings, at least two pixels wide."""
    height, width = image.shape[:2]
    size = corners[2:] - corners[:2]
    left, top = np.clip(corners[:2] - CONTEXT * size, 0.0, 1.0) * [width, height]
    right, bottom = np.clip(corners[2:] + CONTEXT * size, 0.0, 1.0) * [width, height]
    x, y = min(int(left), width - 2), min(int(top), height - 2)
    x, y = max(0, x), max(0, y)
    return image[y : max(y + 2, int(bottom)), x : max(x + 2, int(right))]


def _to_ratios(tlwh: Floats, image_hw: tuple[int, ...], spec: Input) -> Floats:
    scale, left, top = letterbox_geometry(image_hw, spec)
    height, width = image_hw
    # What `_letterbox` really drew: whole pixels, up to half a pixel off the exact size.
    width_px, height_px = max(1, round(width * scale)), max(1, round(height * scale))
    corners = np.concatenate([tlwh[:, :2], tlwh[:, :2] + tlwh[:, 2:]], axis=1) - [left, top, left, top]
    return np.asarray(np.clip(corners / [width_px, height_px, width_px, height_px], 0.0, 1.0))


def _openvino(directory: Path, threads: int) -> Network:
    import openvino

    try:
        core = openvino.Core()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        # Pinned, the first thread of each process sits on the first core, and two that could have one each share it.
        options["ENABLE_CPU_PINNING"] = False
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(core.read_model(directory / "model.xml"), "CPU", options)
    except RuntimeError as error:
        raise BundleError(f"OpenVINO cannot load {directory / 'model.xml'}: {error}", hint="train again") from None

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        # A request object is not shared between threads, the compiled model is.
        found = compiled.create_infer_request().infer({0: batch})
        return _side_by_side([found[k] for k in range(len(compiled.outputs))])

    return run


def _onnxruntime(directory: Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base class of their own
        raise BundleError(f"ONNX Runtime cannot load {directory / 'model.onnx'}: {error}", hint="train again") from None
    name = session.get_inputs()[0].name

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return _side_by_side(session.run(None, {name: batch}))

    return run


def _side_by_side(outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """One array of a network's outputs, since one array is what an endpoint batches."""
    if len(outputs) == 1:
        return np.array(outputs[0], np.float32)
    return np.concatenate(outputs, axis=1, dtype=np.float32)


RUNTIMES: dict[str, Callable[[Path, int], Network]] = {"openvino": _openvino, "onnxruntime": _onnxruntime}
