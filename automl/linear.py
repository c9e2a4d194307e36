"""Fitting a head on taps: standardise, turn into the few directions that the data spans, fit, and fold all of it back
into one weight and bias on the raw features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.heads import HEADS, Bools, Floats

SPREAD_FLOOR = 1e-2
"""Of the mean spread: a feature that hardly moves in ten images must not be blown up by standardising."""


@dataclass(frozen=True)
class Linear:
    weight: Floats
    """[C, D]"""
    bias: Floats
    """[C]"""

    def logits(self, features: NDArray[np.float32]) -> Floats:
        """[…, D] → […, C]"""
        return np.asarray(features @ self.weight.T + self.bias, np.float64)


@dataclass(frozen=True)
class Basis:
    """z = ((x - mean) / scale) @ directions; exact for any head whose weights lie in the span of its data."""

    mean: Floats
    scale: Floats
    directions: Floats | None
    """[D, R]; None: the features themselves (R = D), where the rows are more than they."""
    rows: Floats
    """[N, R] the training rows in the basis."""

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + (0 if self.directions is None else self.directions.nbytes)

    def fold(self, weight: Floats, bias: Floats) -> Linear:
        raw = (weight if self.directions is None else weight @ self.directions.T) / self.scale
        return Linear(raw, bias - raw @ self.mean)


def basis(x: NDArray[np.float32], widths: Sequence[int], *, standardise: bool) -> Basis:
    """Of rows [N, D], which are taps of these widths side by side.

    With D above N the eigenvectors of the small Gram matrix give the span cheaply. With more rows than features there
    is nothing to save, and a decomposition of thousands of rows would take minutes.
    """
    data = np.asarray(x, np.float64)
    mean = data.mean(axis=0)
    spread = data.std(axis=0)
    scale = np.concatenate([_scale(part, standardise) for part in np.split(spread, np.cumsum(widths)[:-1])])
    scale *= np.sqrt(len(widths))
    centred = (data - mean) / scale
    if len(data) > data.shape[1]:
        return Basis(mean, scale, None, centred)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    keep = values > 1e-9 * values[-1]
    directions = (centred.T @ vectors[:, keep]) / np.sqrt(values[keep])
    if not directions.size:  # all rows are the same: one direction on which they all lie at 0
        directions = np.zeros((data.shape[1], 1))
    return Basis(mean, scale, directions, centred @ directions)


def _scale(spread: Floats, standardise: bool) -> Floats:
    """Of one tap. Its rows get a mean squared length of 1, so that a wide tap does not drown a narrow one and
    `strength` means the same for all."""
    common = float(np.sqrt(np.square(spread).mean())) or 1.0
    scale = np.maximum(spread, SPREAD_FLOOR * common) if standardise else np.full(len(spread), common)
    return np.asarray(scale * np.sqrt(len(spread)))


def fit(found: Basis, y: Bools, *, head: str, exclusive: bool, strength: float) -> Linear:
    """A head on the rows of `found`; y is [N, C]."""
    weight, bias = HEADS.get(head)(found.rows, y, exclusive, strength)
    return found.fold(weight, bias)
