"""From a model's raw outputs to scores that mean something. Numpy only: training and serving share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenshot.projects.errors import BundleError

Floats = NDArray[np.float64]
Knots = tuple[tuple[float, float], ...]
"""A piecewise linear curve from logit to logit: (x, y), both strictly increasing; level beyond its ends."""

KINDS = ("softmax", "sigmoid", "platt")


@dataclass(frozen=True, slots=True)
class Calibration:
    """How raw outputs become probabilities.

    - `softmax`: logits [N, C] → softmax(logits / temperature); one label per image.
    - `sigmoid`: logits [N, C] → sigmoid(slope · logits + intercept); any number of labels per image.
    - `platt`: detection scores in (0, 1) → sigmoid(slope · logit(score) + intercept).

    Two further steps, each empty where the data did not ask for it: `slopes` and `intercepts` [C] change the logits of
    each label (vector scaling), and `knots` bend the logit of every score, a curve a label, or a single one for boxes;
    the scores of a `softmax` are brought back to a sum of one.

    Temperature and vector scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Slope and
    intercept: Platt, 1999. Isotonic curves: Zadrozny and Elkan, KDD 2002; a knot a level, and lines between them:
    Oron and Flournoy, "Centered Isotonic Regression", 2017.
    """

    kind: Literal["softmax", "sigmoid", "platt"]
    temperature: float = 1.0
    slope: float = 1.0
    intercept: float = 0.0
    slopes: tuple[float, ...] = ()
    intercepts: tuple[float, ...] = ()
    knots: tuple[Knots, ...] = ()

    def __post_init__(self) -> None:
        """Raises BundleError where the numbers describe no order-keeping curve."""
        if len(self.slopes) != len(self.intercepts):
            raise BundleError(f"calibration has {len(self.slopes)} slopes and {len(self.intercepts)} intercepts")
        for curve in self.knots:
            steps = np.diff(np.array(curve, np.float64).reshape(-1, 2), axis=0)
            if len(curve) < 2 or not (steps > 0).all():
                raise BundleError("a calibration curve does not rise from knot to knot", hint="train again")

    @property
    def method(self) -> str:
        """What it does, in words for people."""
        first = "temperature" if self.kind == "softmax" else "Platt"
        identity = (self.temperature, self.slope, self.intercept) == (1.0, 1.0, 0.0)
        steps = [] if identity else [first]
        steps += ["a slope and an intercept per label"] if self.slopes else []
        steps += ["isotonic"] if self.knots else []
        return ", then ".join(steps) or "none"

    def apply(self, raw: NDArray[Any]) -> Floats:
        """Scores in 0…1, of the same shape as `raw`."""
        logits = self.logits(raw)
        if self.kind != "softmax":
            return sigmoid(self._bent(logits))
        chance = softmax(logits)
        if not self.knots:
            return chance
        bent = sigmoid(self._bent(logit(chance)))
        return np.asarray(bent / bent.sum(axis=-1, keepdims=True))

    def logits(self, raw: NDArray[Any]) -> Floats:
        """What the sigmoid or softmax is taken of, before any curve; of the same shape as `raw`."""
        values = np.asarray(raw, np.float64)
        if self.kind == "softmax":
            scaled = values / self.temperature
        else:
            scaled = self.slope * (logit(values) if self.kind == "platt" else values) + self.intercept
        return scaled * np.array(self.slopes) + np.array(self.intercepts) if self.slopes else scaled

    def _bent(self, logits: Floats) -> Floats:
        if not self.knots:
            return logits
        curves = [np.array(curve).T for curve in self.knots]
        if len(curves) == 1:
            return np.asarray(np.interp(logits, *curves[0]))
        return np.stack([np.interp(logits[..., c], *curve) for c, curve in enumerate(curves)], axis=-1)

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "kind": self.kind,
            "temperature": self.temperature,
            "slope": self.slope,
            "intercept": self.intercept,
        }
        if self.slopes:
            document |= {"slopes": list(self.slopes), "intercepts": list(self.intercepts)}
        if self.knots:
            document["knots"] = [[list(knot) for knot in curve] for curve in self.knots]
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Calibration:
        if document.get("kind") not in KINDS:
            raise BundleError(f"unknown calibration {document.get('kind')!r}; expected softmax, sigmoid or platt")
        known = dict(document)
        for name in ("slopes", "intercepts"):
            known[name] = tuple(float(value) for value in known.get(name, ()))
        known["knots"] = tuple(tuple((float(x), float(y)) for x, y in curve) for curve in known.get("knots", ()))
        return cls(**known)


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
