"""Learning the second network of a detector (`second_look`): a linear layer on a frozen backbone's features of boxes.

Features of the training boxes (turned and mirrored) and of places without a box are computed once; then a layer for
each fold, from its own images only, costs next to nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.detectors.examples import Example
from tenshot.automl.predictor import RGB, cut_out, resize
from tenshot.automl.second_look import FOLDER, SecondLook, write_input
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from tenshot.automl.features import Extractor

STRENGTH = 0.003
"""Of the logistic regression (C): thousands of features, tens of boxes."""
MOST_BOXES_AN_IMAGE = 5.0
"""On average; images full of boxes would take too long to answer, and their detectors know the labels well."""
MOST_BOXES = 300
PLACES = 6
"""Without a box, tried for each image."""
PLACE_SIZES = (0.1, 0.5)
TOUCHED = 0.2
"""Of a place, or of a box, that the two may share."""
TURNS = 8
CROP_S = 0.03
"""Of one crop, until it is measured."""

Rows = NDArray[np.float32]
MakeExtractor = Callable[[], "Extractor"]


def pays(examples: Sequence[Example]) -> bool:
    """Whether there are few enough boxes to look at each of them twice."""
    counts = [len(e.boxes) for e in examples if e.boxes]
    return 0 < sum(counts) <= MOST_BOXES and float(np.mean(counts)) <= MOST_BOXES_AN_IMAGE


@dataclass(frozen=True, eq=False)
class Layer:
    weight: NDArray[np.float64]
    """[C + 1, D]"""
    bias: NDArray[np.float64]

    def shares(self, rows: Rows) -> Rows:
        """[M, D] → [M, C + 1], summing to 1."""
        logits = rows @ self.weight.T + self.bias
        grown = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(grown / grown.sum(axis=1, keepdims=True), np.float32)


@dataclass
class Crops:
    examples: Sequence[Example]
    labels: tuple[str, ...]
    make: MakeExtractor
    """Called when somebody first looks: reading and compiling a network takes seconds."""
    seed: int
    absent: str = ""
    """Why the weights could not be had: asking again would take time and find nothing."""
    _known: dict[int, tuple[Rows, NDArray[np.int64]]] = field(default_factory=dict)
    _layers: dict[tuple[int, ...], Layer | None] = field(default_factory=dict)
    _spent_s: float = 0.0
    _crops: int = 0

    @cached_property
    def extractor(self) -> Extractor:
        return self.make()

    def look(self, images: Sequence[int]) -> SecondLook | None:
        """Learned from the images of these indices; None if they have no box, or where the weights cannot be had: a
        detector is trained as well without them."""
        if self.absent:
            return None
        try:
            layer = self.layer(images)
        except WeightsError as error:
            self.absent = error.message
            return None
        if layer is None:
            return None
        return SecondLook(lambda batch: layer.shares(self.extractor.run(batch)), self.extractor.spec)

    @property
    def seconds(self) -> float:
        """About what it takes to look at all images; those that were looked at cost nothing."""
        boxes = [len(e.boxes) for i, e in enumerate(self.examples) if i not in self._known]
        return sum(TURNS * count + PLACES for count in boxes) * (self._spent_s / self._crops if self._crops else CROP_S)

    def layer(self, images: Sequence[int]) -> Layer | None:
        key = tuple(images)
        if key not in self._layers:
            self._layers[key] = self._learned(images)
        return self._layers[key]

    def _learned(self, images: Sequence[int]) -> Layer | None:
        from sklearn.linear_model import LogisticRegression

        parts = [self._rows(i) for i in images]
        rows, names = np.concatenate([r for r, _ in parts]), np.concatenate([n for _, n in parts])
        if len(np.unique(names)) < 2 or names.min() == len(self.labels):
            return None
        mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
        fitted = LogisticRegression(C=STRENGTH, max_iter=500).fit((rows - mean) / spread, names)
        return _spread(fitted, mean, spread, len(self.labels) + 1)

    def export(self, directory: Path) -> None:
        """Write the network, learned from all images, as part of a bundle."""
        import torch
        from torch import nn

        from tenshot.automl.features import FIRST_TAP
        from tenshot.automl.networks import TapNetwork
        from tenshot.automl.training.export import onnx_to_openvino, to_onnx

        layer = self.layer(range(len(self.examples)))
        assert layer is not None  # noqa: S101  # it was chosen on out-of-fold answers
        linear = nn.Linear(*layer.weight.shape[::-1])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(layer.weight))
            linear.bias.copy_(torch.from_numpy(layer.bias))
        network = nn.Sequential(TapNetwork(self.extractor.backbone(), FIRST_TAP), linear, nn.Softmax(1))
        folder = directory / FOLDER
        to_onnx(network, self.extractor.spec, folder / "model.onnx")
        onnx_to_openvino(folder / "model.onnx", folder / "model.xml")
        write_input(folder, self.extractor.spec)

    def _rows(self, image: int) -> tuple[Rows, NDArray[np.int64]]:
        """Features and labels (the number of labels: none) of an image's boxes and of places without one."""
        if image not in self._known:
            example = self.examples[image]
            pixels, rng = example.pixels(), np.random.default_rng([self.seed, image])
            cuts, names, spec = list[RGB](), list[int](), self.extractor.spec
            for box in example.boxes:
                # Shrunk before it is turned: eight copies of a photo's half would take a gigabyte.
                cut = resize(cut_out(pixels, np.array(box.xyxy, np.float64)), spec.width, spec.height)
                turned = _turned(cut)
                cuts, names = cuts + turned, names + [self.labels.index(box.label)] * len(turned)
            empty = [cut_out(pixels, place) for place in _empty_places(example, rng)]
            started = time.monotonic()
            rows = self.extractor.of_pixels(cuts + empty)
            self._spent_s, self._crops = self._spent_s + time.monotonic() - started, self._crops + len(rows)
            self._known[image] = rows, np.array(names + [len(self.labels)] * len(empty), np.int64)
        return self._known[image]


def _spread(fitted: Any, mean: Rows, spread: Rows, classes: int) -> Layer:
    """The fitted layer for features as they are, with a row for every class; what had no example gets no share."""
    weight, bias = np.zeros((classes, len(mean))), np.full(classes, -30.0)
    known, offsets = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # one row says how much more likely the second is
        known, offsets = np.concatenate([-known, known]) / 2, np.concatenate([-offsets, offsets]) / 2
    weight[fitted.classes_] = known / spread
    bias[fitted.classes_] = offsets - weight[fitted.classes_] @ mean
    return Layer(weight, bias)


def _turned(image: RGB) -> list[RGB]:
    """All eight ways to turn and mirror it."""
    turns = [np.rot90(image, k) for k in range(4)]
    return [np.ascontiguousarray(one) for turn in turns for one in (turn, turn[:, ::-1])]


def _empty_places(example: Example, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    boxes = np.array([box.xyxy for box in example.boxes], np.float64).reshape(-1, 4)
    found = []
    for _ in range(PLACES):
        size = rng.uniform(*PLACE_SIZES, 2)
        corner = rng.uniform(0.0, 1.0 - size)
        place = np.concatenate([corner, corner + size])
        sides = np.minimum(boxes[:, 2:], place[2:]) - np.maximum(boxes[:, :2], place[:2])
        shared = np.prod(np.maximum(sides, 0.0), axis=1)
        areas = np.minimum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.prod(size))
        if (shared <= TOUCHED * areas).all():
            found.append(place)
    return found
