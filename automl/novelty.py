"""How unlike all training images an image is, so that a classifier can say of a photo of a street: none of my labels.

The classifier's network gives, beside its logits, a descriptor of unit length of what its frozen stages saw. The bundle
holds the descriptors of training images and a curve. An image's strangeness is ½ · log((1 - c) / c), where c is the
cosine between its descriptor and the nearest stored one: the logarithm of a small distance, and no bound for large
ones. The curve says which share of its confidence an image of that strangeness keeps; it is fitted in
automl/training/familiar.py. Numpy only: serving imports this module.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenshot.projects.errors import BundleError

FILE = "novelty.npz"
Floats = NDArray[np.float64]
_LEAST_GAP, _LEAST_COSINE = 1e-6, 1e-3
"""Beyond these the strangeness stays as it is: descriptors are stored in 16 bits, and a cosine may be negative."""


@dataclass(frozen=True, eq=False)
class Novelty:
    rows: NDArray[np.float32]
    """[K, D] of unit length."""
    strangeness: Floats
    """[P] rising."""
    kept: Floats
    """[P] share of the confidence that is kept at each strangeness: from 1, falling, above 0."""
    alone: Floats | None = None
    """[K] strangeness of each training image among the others: what drift is told from. None in older bundles."""

    def of(self, features: NDArray[Any]) -> Floats:
        """[N, D] → [N] novelty: 0 like the training images, towards 1 unlike all of them. Never quite 1, so that scores
        which are multiplied by the rest keep their order."""
        return self.at(strangeness(features, self.rows))

    def at(self, strange: Floats) -> Floats:
        """[N] novelty of images that are so strange."""
        return np.asarray(1.0 - np.interp(strange, self.strangeness, self.kept), np.float64)

    def save(self, directory: Path) -> None:
        arrays: dict[str, Any] = {"rows": self.rows.astype(np.float16), "strangeness": self.strangeness}
        if self.alone is not None:
            arrays["alone"] = self.alone
        np.savez(directory / FILE, kept=self.kept, **arrays)

    @classmethod
    def load(cls, directory: Path) -> Novelty | None:
        """None if the bundle has none: a detector's, or one that an earlier Tenshot wrote. Raises BundleError."""
        path = directory / FILE
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as data:
                alone = data["alone"] if "alone" in data.files else None
                found = cls(unit(data["rows"].astype(np.float32)), data["strangeness"], data["kept"], alone)
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            raise BundleError(f"{path} is damaged", hint="restore it from a backup or train again") from None
        if not _sound(found):
            raise BundleError(f"{path} holds no falling curve over descriptors", hint="train again")
        return found


def strangeness(features: NDArray[Any], rows: NDArray[np.float32]) -> Floats:
    """[N] of descriptors [N, D] against the nearest of `rows` [K, D], all of unit length."""
    # Not a matrix product: of so few rows its threads cost ten times what they bring (0.26 ms of 1000 × 1280 as it is).
    nearest = rows[np.argmax(np.einsum("nd,kd->nk", features, rows), axis=1)]
    # Half the squared distance is 1 - cosine without the rounding of a difference of two numbers near 1.
    return of_gap(0.5 * np.square(features - nearest, dtype=np.float64).sum(axis=1))


def of_gap(gap: NDArray[Any]) -> Floats:
    """Strangeness at 1 - cosine = `gap`."""
    bounded = np.clip(gap, _LEAST_GAP, 1.0 - _LEAST_COSINE)
    return np.asarray(0.5 * np.log(bounded / (1.0 - bounded)), np.float64)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1; a row of zeros stays."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def _sound(found: Novelty) -> bool:
    x, y = found.strangeness, found.kept
    return bool(
        found.rows.ndim == 2 and len(found.rows) and x.ndim == 1 and x.shape == y.shape and len(x)
        and (np.diff(x) >= 0).all() and (np.diff(y) <= 0).all() and y.max() <= 1 and y.min() > 0
    )  # fmt: skip
