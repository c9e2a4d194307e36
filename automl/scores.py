"""From a model's raw outputs to scores that mean something. Numpy only: training and serving share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenshot.projects.errors import BundleError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How raw outputs become probabilities.

    - `softmax`: logits [N, C] → softmax(logits / temperature); one label per image.
    - `sigmoid`: logits [N, C] → sigmoid(slope · logits + intercept); any number of labels per image.
    - `platt`: detection scores in (0, 1) → sigmoid(slope · logit(score) + intercept).

    Temperature: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Slope and intercept: Platt, 1999.
    """

    kind: Literal["softmax", "sigmoid", "platt"]
    temperature: float = 1.0
    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, raw: NDArray[Any]) -> Floats:
        """Scores in 0…1, of the same shape as `raw`."""
        values = np.asarray(raw, np.float64)
        if self.kind == "softmax":
            return softmax(values / self.temperature)
        if self.kind == "sigmoid":
            return sigmoid(self.slope * values + self.intercept)
        return sigmoid(self.slope * logit(values) + self.intercept)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "temperature": self.temperature,
            "slope": self.slope,
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Calibration:
        if document.get("kind") not in ("softmax", "sigmoid", "platt"):
            raise BundleError(f"unknown calibration {document.get('kind')!r}; expected softmax, sigmoid or platt")
        return cls(**document)


def softmax(logits: Floats) -> Floats:
    """Along the last axis, safe for large values."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))


def logit(probabilities: Floats, floor: float = 1e-6) -> Floats:
    """The inverse of `sigmoid`, with probabilities kept `floor` away from 0 and 1."""
    clipped = np.clip(probabilities, floor, 1.0 - floor)
    return np.asarray(np.log(clipped / (1.0 - clipped)))
