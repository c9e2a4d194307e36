"""Answers images with an exported model. It needs numpy, OpenCV, Pillow, and OpenVINO or ONNX Runtime; nothing else.

    python predict.py photo.jpg more/*.png          JSON on stdout
    python predict.py --min-confidence 0 photo.jpg  every label, not only those above their thresholds

    from predict import Predictor
    model = Predictor.load("folder of this file")
    model.predict(open("photo.jpg", "rb").read())   {"labels": [{"name", "confidence", "box"}], "novelty"}

Confidences are 0…100; boxes are ratios of the upright image, null for labels of a whole image. What the numbers are
made of stands in card.json beside this file.

SPDX-License-Identifier: AGPL-3.0-or-later
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageChops

LAYOUT = 1
"""Of card.json, that this file reads."""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
ORIENTATION = 0x0112
PAD = 114
MOST_CANDIDATES = 3000
Image.MAX_IMAGE_PIXELS = None  # the limit of the card is checked instead

Array = np.ndarray[Any, Any]
Network = Callable[[Array], Array]


class ImageError(ValueError):
    """Bytes that are no image which this model takes."""


class ModelError(ValueError):
    """The files beside this one are not whole."""


class Predictor:
    """One loaded model; threads may share it."""

    def __init__(self, card: dict[str, Any], network: Network, second: Network | None, novelty: Any) -> None:
        self.card = card
        self.labels: list[str] = card["labels"]
        self.thresholds = np.array([card["thresholds"].get(name, 0.5) for name in self.labels])
        self._network, self._second, self._novelty = network, second, novelty

    @classmethod
    def load(cls, folder: str | Path, *, threads: int = 0) -> Predictor:
        """`threads` of the network; 0 leaves it to the runtime. Raises ModelError."""
        folder = Path(folder)
        card = _read_card(folder)
        runtime = RUNTIMES[card["runtime"]]
        second = card["second_look"] and runtime(folder / card["second_look"]["network"], threads)
        novelty = None
        if card["novelty"]:
            with np.load(folder / card["novelty"], allow_pickle=False) as data:
                rows = data["rows"].astype(np.float32)
                length = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
                novelty = ((rows / length).astype(np.float32), data["strangeness"], data["kept"])
        return cls(card, runtime(folder / card["network"], threads), second or None, novelty)

    def predict(
        self, data: bytes, *, min_confidence: float | None = None, max_results: int | None = None
    ) -> dict[str, Any]:
        """What is in an encoded image, best first. `min_confidence` (0…100) replaces the thresholds. Raises
        ImageError."""
        return self.predict_pixels(
            decode(data, self.card["max_megapixels"]), min_confidence=min_confidence, max_results=max_results
        )

    def predict_pixels(
        self, image: Array, *, min_confidence: float | None = None, max_results: int | None = None
    ) -> dict[str, Any]:
        """The same for an upright RGB image, uint8 [H, W, 3]."""
        row = self._network(prepare(image, self.card["input"])[None])[0]
        limits = self.thresholds if min_confidence is None else np.full(len(self.labels), min_confidence / 100)
        if self.card["task"] == "detection":
            return {"labels": self._boxes(row, image, limits)[:max_results]}
        logits, features = row[: len(self.labels)], row[len(self.labels) :]
        scores = calibrate(logits[None], self.card["calibration"])[0]
        answer: dict[str, Any] = {}
        if self._novelty is not None:
            novelty = novelty_of(features, *self._novelty)
            scores = scores * (1.0 - novelty)
            answer["novelty"] = round(novelty, 4)
        order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= limits[i]]
        labels = [{"name": self.labels[i], "confidence": float(scores[i] * 100), "box": None} for i in order]
        return {"labels": labels[:max_results], **answer}

    def _boxes(self, output: Array, image: Array, limits: Array) -> list[dict[str, Any]]:
        spec, how = self.card["input"], self.card["suppression"]
        if self._second is not None:
            output = look_again(output, image, spec, self.card["second_look"], self._second)
        corners, label, raw = suppress(output, image.shape[:2], spec, how)
        score = calibrate(raw, self.card["calibration"])
        found = []
        for i in np.flatnonzero(score >= limits[label]):
            left, top, right, bottom = (float(v) for v in corners[i])
            box = {"left": left, "top": top, "width": right - left, "height": bottom - top}
            found.append({"name": self.labels[label[i]], "confidence": float(score[i] * 100), "box": box})
        return found


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads((folder / "card.json").read_text("utf-8"))
        if card["layout"] != LAYOUT:
            raise ModelError(f"card.json has layout {card['layout']}; this predict.py reads {LAYOUT}")
        for name in card["model_files"]:
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != card["model_files"][name]:
                raise ModelError(f"{name} is not the file that was exported: its sha256 differs")
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ModelError(f"{folder} holds no whole model: {type(error).__name__}: {error}") from None
    return card


# Networks ---------------------------------------------------------------------------------------------------------


def _openvino(path: Path, threads: int) -> Network:
    import openvino

    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", options)

    def run(batch: Array) -> Array:
        found = compiled.create_infer_request().infer({0: batch})
        return _side_by_side([found[k] for k in range(len(compiled.outputs))])

    return run


def _onnxruntime(path: Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: _side_by_side(session.run(None, {name: batch}))


RUNTIMES: dict[str, Callable[[Path, int], Network]] = {"openvino": _openvino, "onnxruntime": _onnxruntime}


def _side_by_side(outputs: Sequence[Array]) -> Array:
    return np.concatenate(outputs, axis=1, dtype=np.float32) if len(outputs) > 1 else np.array(outputs[0], np.float32)


# Pixels to the network's input ------------------------------------------------------------------------------------


def prepare(image: Array, spec: dict[str, Any]) -> Array:
    """[3, H, W] float32."""
    scaled = FITS[spec["fit"]](image, spec).astype(np.float32) / 255.0
    normal = (scaled - np.array(spec["mean"], np.float32)) / np.array(spec["std"], np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _crop(image: Array, spec: dict[str, Any]) -> Array:
    height, width = image.shape[:2]
    scale = max(spec["height"] / height, spec["width"] / width) / spec["crop_ratio"]
    grown = _resize(image, max(spec["width"], round(width * scale)), max(spec["height"], round(height * scale)))
    top, left = (grown.shape[0] - spec["height"]) // 2, (grown.shape[1] - spec["width"]) // 2
    return grown[top : top + spec["height"], left : left + spec["width"]]


def _stretch(image: Array, spec: dict[str, Any]) -> Array:
    return _resize(image, spec["width"], spec["height"])


def _letterbox(image: Array, spec: dict[str, Any]) -> Array:
    left, top, width, height = _placed(image.shape[:2], spec)
    canvas = np.full((spec["height"], spec["width"], 3), PAD, np.uint8)
    canvas[top : top + height, left : left + width] = _resize(image, width, height)
    return canvas


FITS: dict[str, Callable[[Array, dict[str, Any]], Array]] = {
    "crop": _crop,
    "stretch": _stretch,
    "letterbox": _letterbox,
}


def _placed(image_hw: tuple[int, ...], spec: dict[str, Any]) -> tuple[int, int, int, int]:
    """Where a letterboxed image lies in the network's input: left, top, width, height in px."""
    height, width = image_hw
    scale = min(spec["height"] / height, spec["width"] / width)
    left, top = (spec["width"] - round(width * scale)) // 2, (spec["height"] - round(height * scale)) // 2
    return max(0, left), max(0, top), max(1, round(width * scale)), max(1, round(height * scale))


def _resize(image: Array, width: int, height: int) -> Array:
    """By areas where it shrinks, bilinear where it grows."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = width * height < image.shape[0] * image.shape[1]
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


# Raw outputs to scores --------------------------------------------------------------------------------------------


def calibrate(raw: Array, how: dict[str, Any]) -> Array:
    """Scores 0…1: temperature, or slope and intercept; then those of each label; then curves. What is empty is not
    done."""
    values = np.asarray(raw, np.float64)
    if how["kind"] == "softmax":
        values = values / how["temperature"]
    else:
        values = how["slope"] * (_logit(values) if how["kind"] == "platt" else values) + how["intercept"]
    if how["slopes"]:
        values = values * np.array(how["slopes"]) + np.array(how["intercepts"])
    if how["kind"] != "softmax":
        return _sigmoid(_bent(values, how["knots"]))
    shares = np.exp(values - values.max(axis=-1, keepdims=True))
    shares = shares / shares.sum(axis=-1, keepdims=True)
    if not how["knots"]:
        return np.asarray(shares)
    bent = _sigmoid(_bent(_logit(shares), how["knots"]))
    return np.asarray(bent / bent.sum(axis=-1, keepdims=True))


def _bent(logits: Array, knots: Sequence[Any]) -> Array:
    if not knots:
        return logits
    curves = [np.array(curve).T for curve in knots]
    if len(curves) == 1:
        return np.asarray(np.interp(logits, *curves[0]))
    return np.stack([np.interp(logits[..., c], *curve) for c, curve in enumerate(curves)], axis=-1)


def _sigmoid(values: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))


def _logit(shares: Array) -> Array:
    clipped = np.clip(shares, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def novelty_of(features: Array, rows: Array, strangeness: Array, kept: Array) -> float:
    """0 like the training images … 1 unlike all of them, by the distance to the nearest stored descriptor."""
    nearest = rows[np.argmax(np.einsum("d,kd->k", features, rows))]
    gap = 0.5 * np.square(features - nearest, dtype=np.float64).sum()
    bounded = np.clip(gap, 1e-6, 1.0 - 1e-3)
    return float(1.0 - np.interp(0.5 * np.log(bounded / (1.0 - bounded)), strangeness, kept))


# A detector's boxes -----------------------------------------------------------------------------------------------


def suppress(
    output: Array, image_hw: tuple[int, ...], spec: dict[str, Any], how: dict[str, Any]
) -> tuple[Array, Array, Array]:
    """From [4 + C, A] to corners [M, 4] (ratios), labels [M] and scores [M], best first; the best of those that overlap
    stays."""
    anchor, label = np.nonzero(how["min_score"] <= output[4:].T)
    score = output[4:].T[anchor, label].astype(np.float64)
    best = np.argsort(-score, kind="stable")[:MOST_CANDIDATES]
    anchor, label, score = anchor[best], label[best], score[best]
    tlwh = _tlwh(output[:4, anchor])
    # Boxes of different labels are moved apart, so that they do not count as overlapping.
    apart = 0 * label if how["class_agnostic"] else label * (4.0 * max(spec["height"], spec["width"]))
    moved = tlwh + np.stack([apart, apart, 0 * apart, 0 * apart], axis=1)
    picked = cv2.dnn.NMSBoxes(moved.tolist(), score.tolist(), how["min_score"], how["iou"])
    kept = np.asarray(picked, np.int64).reshape(-1)[: how["max_detections"]]
    return _ratios(tlwh[kept], image_hw, spec), label[kept], score[kept]


def _tlwh(boxes: Array) -> Array:
    x, y, w, h = boxes.astype(np.float64)
    return np.stack([x - w / 2, y - h / 2, w, h], axis=1)


def _ratios(tlwh: Array, image_hw: tuple[int, ...], spec: dict[str, Any]) -> Array:
    left, top, width, height = _placed(image_hw, spec)
    corners = np.concatenate([tlwh[:, :2], tlwh[:, :2] + tlwh[:, 2:]], axis=1) - [left, top, left, top]
    return np.asarray(np.clip(corners / [width, height, width, height], 0.0, 1.0))


def look_again(output: Array, image: Array, spec: dict[str, Any], how: dict[str, Any], network: Network) -> Array:
    """The detector's output with the scores that a second network gives its best boxes, each cut out of the image."""
    score = output[4:].max(axis=0)
    strong = np.flatnonzero(score >= how["least_score"])
    boxes = _tlwh(output[:4, strong])
    picked = cv2.dnn.NMSBoxes(boxes.tolist(), score[strong].astype(float).tolist(), how["least_score"], how["overlap"])
    best = np.asarray(picked, np.int64).reshape(-1)[: how["most"]]
    if not len(best):
        return output
    crops = [_cut_out(image, corners, how["context"]) for corners in _ratios(boxes[best], image.shape[:2], spec)]
    shares = network(np.stack([prepare(crop, how["input"]) for crop in crops]))[:, :-1]
    found = output.copy()
    found[4:] *= how["unseen"]
    found[4:, _hidden(_tlwh(output[:4]), boxes[best], how["overlap"])] = 0.0
    found[4:, strong[best]] = (output[4:, strong[best]].max(axis=0)[:, None] * shares).T
    return found


def _hidden(boxes: Array, looked_at: Array, overlap: float) -> Array:
    """Which boxes are at a place that is looked at through another box."""
    hidden = np.zeros(len(boxes), np.bool_)
    right, bottom = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
    for left, top, width, height in looked_at:
        across = np.minimum(right, left + width) - np.maximum(boxes[:, 0], left)
        down = np.minimum(bottom, top + height) - np.maximum(boxes[:, 1], top)
        shared = np.maximum(across, 0.0) * np.maximum(down, 0.0)
        hidden |= shared > overlap * (boxes[:, 2] * boxes[:, 3] + width * height - shared)
    return hidden


def _cut_out(image: Array, corners: Array, context: float) -> Array:
    height, width = image.shape[:2]
    size = corners[2:] - corners[:2]
    left, top = np.clip(corners[:2] - context * size, 0.0, 1.0) * [width, height]
    right, bottom = np.clip(corners[2:] + context * size, 0.0, 1.0) * [width, height]
    x, y = max(0, min(int(left), width - 2)), max(0, min(int(top), height - 2))
    return image[y : max(y + 2, int(bottom)), x : max(x + 2, int(right))]


# Bytes to pixels --------------------------------------------------------------------------------------------------


def decode(data: bytes, max_megapixels: float) -> Array:
    """The upright picture, uint8 [H, W, 3]: alpha on white, grey repeated, 16 bits divided by 257, profiles ignored.
    Raises ImageError."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":  # Pillow takes the memory of a WebP when it opens it
        _check_size(*_webp_size(data), max_megapixels)
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise ImageError("a truncated WEBP file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        _check_size(width, height, max_megapixels)
        turn = _turn(image)
        if image.format == "PNG" and b"IEND\xaeB`\x82" not in data:
            raise ImageError("a truncated PNG file")
        image.load()
        pixels = _to_rgb(image)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # on hostile bytes Pillow's plugins raise nearly anything
        raise ImageError(f"not an image of {', '.join(FORMATS)}, or damaged ({str(error)[:100]})") from None
    if image.format == "TIFF":  # Pillow has turned it
        turn = 1
    if turn >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _check_size(width: int, height: int, max_megapixels: float) -> None:
    if width <= 0 or height <= 0 or width * height > max_megapixels * 1e6:
        raise ImageError(f"{width}×{height} px; more than 0 and at most {max_megapixels:g} megapixels are taken")


def _webp_size(data: bytes) -> tuple[int, int]:
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 1, 1
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _turn(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata do not make the picture worse
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(image: Image.Image) -> Array:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_to_8_bit(np.asarray(image))[:, :, None], 3, axis=2)
    if image.mode == "CMYK":  # Pillow inverts that of every JPEG, as Adobe writes it
        as_adobe = image.format not in ("JPEG", "MPO") or "adobe" in image.info
        return np.asarray((image if as_adobe else ImageChops.invert(image)).convert("RGB"))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _to_8_bit(values: Array) -> Array:
    if values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    floats = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(floats.min()), float(floats.max())
    limits = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    top = next((limit for limit in limits if low >= 0 and high <= limit), None)
    if top is None:
        floats, top = floats - low, high - low
    return np.asarray(np.rint(floats * (255.0 / top)), np.uint8)


# Command line -----------------------------------------------------------------------------------------------------


def main() -> int:
    words = argparse.ArgumentParser(description="Find labels and boxes in images.")
    words.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    words.add_argument("--min-confidence", type=float, help="0-100; left out: each label's own threshold")
    words.add_argument("--max-results", type=int)
    words.add_argument("--threads", type=int, default=0, help="of the network; 0 leaves it to the runtime")
    said = words.parse_args()
    model = Predictor.load(Path(__file__).parent, threads=said.threads)
    entries: list[dict[str, Any]] = []
    for path in said.images:
        try:
            answer = model.predict(path.read_bytes(), min_confidence=said.min_confidence, max_results=said.max_results)
        except (ImageError, OSError) as error:
            answer = {"labels": [], "error": str(error)}
        entries.append({"image": str(path), **answer})
    sys.stdout.write(json.dumps({"model": model.card["model"], "images": entries}) + "\n")
    return int(all("error" in entry for entry in entries))


if __name__ == "__main__":
    sys.exit(main())
