"""What a version saw of its training images, as plain numbers: the yardstick that drift is measured with.

A *signal* is one number of an image that does not show what is in it. Of a classifier it is the strangeness
(automl/novelty.py), here of each training image among the others. Of a detector, which has no descriptors, it is the
best score, the number of boxes and their middle size, here of the out-of-fold predictions. Numpy only: serving imports
this module.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.novelty import Novelty
from tenshot.projects.errors import BundleError

if TYPE_CHECKING:
    from tenshot.automl.evaluation.outcomes import Boxes

FILE = "usual.npz"
Floats = NDArray[np.float64]
STEPS = {"strangeness": 0.02, "confidence": 0.01, "boxes": 1.0, "side": 0.01}
"""Signal → width of the bins it is counted in: a tenth of its usual spread or less."""
_LOSERS, _BELIEVED = 0.05, 2
"""What automl/training/familiar.py made the curve of older bundles with."""


@dataclass(frozen=True, eq=False)
class Usual:
    signals: Mapping[str, Floats]
    """Signal → its values, one a training image that has it; sorted, none empty."""

    def save(self, directory: Path) -> None:
        np.savez(directory / FILE, **self.signals)  # type: ignore[arg-type]  # its other argument is no array

    @classmethod
    def load(cls, directory: Path) -> Usual | None:
        """Of a bundle. None if it has nothing to compare with: a detector that an earlier Tenshot trained, or a
        classifier whose training images gave no descriptors. Raises BundleError."""
        path = directory / FILE
        if path.is_file():
            return cls(_read(path))
        novelty = Novelty.load(directory)
        if novelty is None:
            return None
        return cls({"strangeness": np.sort(_from_curve(novelty) if novelty.alone is None else novelty.alone)})


def of_boxes(predictions: Sequence[Boxes], limits: Floats) -> Usual | None:
    """From the out-of-fold predictions of images and each label's threshold [C], 0…1. None without an image."""
    found = [box_signals(one.xyxy, one.score, one.score >= limits[one.label]) for one in predictions]
    names = {name for one in found for name in one}
    return (
        Usual({name: np.sort([one[name] for one in found if name in one]) for name in sorted(names)}) if found else None
    )


def box_signals(xyxy: Floats, score: Floats, own: NDArray[np.bool_]) -> dict[str, float]:
    """Of one image's boxes [K, 4] with scores [K], where `own` [K] says which reach their threshold. `side` is the root
    of the middle box's share of the image; an image without a box has none."""
    signals = {"confidence": float(score.max()) if len(score) else 0.0, "boxes": float(own.sum())}
    if signals["boxes"]:
        sides = xyxy[own, 2:] - xyxy[own, :2]
        signals["side"] = math.sqrt(float(np.median(sides[:, 0] * sides[:, 1])))
    return signals


def _read(path: Path) -> dict[str, Floats]:
    try:
        with np.load(path, allow_pickle=False) as data:
            found: dict[str, Any] = {name: np.sort(data[name].astype(np.float64)) for name in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise BundleError(f"{path} is damaged", hint="restore it from a backup or train again") from None
    if not all(name in STEPS and len(a) and a.ndim == 1 and np.isfinite(a).all() for name, a in found.items()):
        raise BundleError(f"{path} holds no samples of {', '.join(STEPS)}", hint="train again")
    return found


def _from_curve(novelty: Novelty) -> Floats:
    """[K] what the training images' strangeness must have been about, from the curve that was fitted to it: Student's
    t, whose tail beyond the curve's points is 0.05 · kept."""
    count = len(novelty.rows)
    tails = np.array([1.0, novelty.kept[-1] / novelty.kept[0]]) * _LOSERS * novelty.kept[0]
    ends = np.array([novelty.strangeness[0], novelty.strangeness[-1]])
    far = student_quantiles(1.0 - tails, _BELIEVED + count - 1)
    spread = (ends[1] - ends[0]) / (far[1] - far[0]) if far[1] > far[0] else 0.0
    middles = (np.arange(count) + 0.5) / count
    return np.asarray(ends[0] + spread * (student_quantiles(middles, _BELIEVED + count - 1) - far[0]), np.float64)


def student_quantiles(shares: Floats, freedom: float) -> Floats:
    """[P] quantiles 0…1 of Student's t, to about 1e-3: its density summed up (scipy is no part of an endpoint)."""
    x = np.sinh(np.linspace(-9.0, 9.0, 20_001))
    density = np.exp(-0.5 * (freedom + 1.0) * np.log1p(x * x / freedom))
    area = np.concatenate([[0.0], np.cumsum(np.diff(x) * (density[1:] + density[:-1]) / 2.0)])
    return np.asarray(np.interp(shares, area / area[-1], x), np.float64)
