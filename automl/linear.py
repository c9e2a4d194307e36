"""Fitting a head on taps: standardise, turn into the few directions that the data spans, fit, and fold all of it back
into weights and biases on the raw features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.heads import HEADS, Bools, Floats

SPREAD_FLOOR = 1e-2
"""Of the mean spread: a feature that hardly moves in ten images must not be blown up by standardising."""
EXACT_ROWS = 1200
"""Up to so many rows the directions that they span are found exactly; of more, those of evenly drawn ones."""
FIT_WORK = 4e8
"""Rows · directions · labels that a step of a fit may cost (about 0.1 s); fewer directions are kept beyond it."""
FEWEST_DIRECTIONS = 192
KEPT_VARIANCE = 0.95
WHITE_FLOOR = 1.0
"""Of the mean variance along the directions: added to each before whitening by it, which is what shrinking the
covariance half-way to a sphere does."""
BLOCK = 2048
"""Rows that are turned at once, for the sake of memory."""

Projection = Literal["none", "pca", "whiten"]
"""none: every direction as it is. pca: those that hold 95 % of the variance. whiten: each direction is divided by its
spread under a shrunk covariance, so that what all images share in varying counts for less."""


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
class Head:
    """The sum of branches; a branch is layers with a ReLU between. All linear branches are one, without layers more."""

    branches: tuple[tuple[Linear, ...], ...]

    def logits(self, features: NDArray[np.float32]) -> Floats:
        """[…, D] → […, C]"""
        return np.asarray(sum(_through(branch, features) for branch in self.branches), np.float64)

    @property
    def linear(self) -> bool:
        return len(self.branches) == 1 and len(self.branches[0]) == 1

    @property
    def weight(self) -> Floats:
        """[C, D]; of a linear head."""
        return self._only().weight

    @property
    def bias(self) -> Floats:
        """[C]; of a linear head."""
        return self._only().bias

    def spread(self, columns: NDArray[np.int64], width: int) -> Head:
        """The same head on rows of this width in which its features stand in these columns."""
        return Head(tuple((_spread(first, columns, width), *rest) for first, *rest in self.branches))

    def _only(self) -> Linear:
        if not self.linear:
            raise ValueError("a head that is not linear has no single weight")
        return self.branches[0][0]


def _through(branch: Sequence[Linear], features: NDArray[np.float32]) -> Floats:
    first, *rest = branch
    x = first.logits(features)
    for layer in rest:
        x = layer.logits(np.maximum(x, 0.0))
    return x


def _spread(layer: Linear, columns: NDArray[np.int64], width: int) -> Linear:
    weight = np.zeros((len(layer.weight), width))
    weight[:, columns] = layer.weight
    return Linear(weight, layer.bias)


def average(heads: Sequence[Head]) -> Head:
    """Mean of their logits. As many linear heads as one likes are one linear head, which costs nothing to serve."""
    branches = [tuple(_scaled(branch, 1 / len(heads))) for head in heads for branch in head.branches]
    plain = [branch[0] for branch in branches if len(branch) == 1]
    bent = [branch for branch in branches if len(branch) > 1]
    if plain:
        bent.insert(0, (Linear(sum(b.weight for b in plain), sum(b.bias for b in plain)),))  # type: ignore[arg-type]
    return Head(tuple(bent))


def _scaled(branch: Sequence[Linear], by: float) -> Iterator[Linear]:
    yield from branch[:-1]
    yield Linear(branch[-1].weight * by, branch[-1].bias * by)


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


def basis(
    x: NDArray[np.float32],
    widths: Sequence[int],
    *,
    standardise: bool,
    projection: Projection = "none",
    labels: int = 1,
) -> Basis:
    """Of rows [N, D], which are taps of these widths side by side, for a head of so many labels.

    With D above N the eigenvectors of the small Gram matrix give the span cheaply. With more rows than features there
    is nothing to save, and a decomposition of thousands of rows would take minutes.
    """
    mean, spread = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    scale = np.concatenate([_scale(part, standardise) for part in np.split(spread, np.cumsum(widths)[:-1])])
    scale *= np.sqrt(len(widths))
    most = max(FEWEST_DIRECTIONS, int(FIT_WORK / (len(x) * labels)))
    if projection == "none" and len(x) > x.shape[1] <= most:
        return Basis(mean, scale, None, (x - mean) / scale)
    drawn = x if len(x) <= EXACT_ROWS else x[np.linspace(0, len(x) - 1, EXACT_ROWS).astype(int)]
    directions = _directions((drawn - mean) / scale, most, projection)
    blocks = [((x[k : k + BLOCK] - mean) / scale) @ directions for k in range(0, len(x), BLOCK)]
    return Basis(mean, scale, directions, np.concatenate(blocks))


def _directions(centred: Floats, most: int, projection: Projection) -> Floats:
    """[D, R] orthonormal, or scaled for whitening, the widest first."""
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    keep = int((values > 1e-9 * values[0]).sum())
    if not keep:  # all rows are the same: one direction on which they all lie at 0
        return np.zeros((centred.shape[1], 1))
    if projection == "pca":
        keep = int(np.searchsorted(np.cumsum(values[:keep]), KEPT_VARIANCE * values[:keep].sum())) + 1
    values, vectors = values[: min(keep, most)], vectors[:, : min(keep, most)]
    directions = (centred.T @ vectors) / np.sqrt(values)
    white = _whitening(values, len(centred)) if projection == "whiten" else 1.0
    return np.asarray(directions * white, np.float64)


def _whitening(values: Floats, rows: int) -> Floats:
    """Factors for the directions, after which the rows' mean squared length is 1 again."""
    factors = 1.0 / np.sqrt(values + WHITE_FLOOR * values.mean())
    return np.asarray(factors / np.sqrt((values * np.square(factors)).sum() / rows))


def _scale(spread: Floats, standardise: bool) -> Floats:
    """Of one tap. Its rows get a mean squared length of 1, so that a wide tap does not drown a narrow one and
    `strength` means the same for all."""
    common = float(np.sqrt(np.square(spread).mean())) or 1.0
    scale = np.maximum(spread, SPREAD_FLOOR * common) if standardise else np.full(len(spread), common)
    return np.asarray(scale * np.sqrt(len(spread)))


def fit(found: Basis, y: Bools, *, head: str, exclusive: bool, strength: float) -> Head:
    """A head on the rows of `found`; y is [N, C]."""
    (weight, bias), *rest = HEADS.get(head)(found.rows, y, exclusive, strength)
    return Head(((found.fold(weight, bias), *(Linear(*layer) for layer in rest)),))
