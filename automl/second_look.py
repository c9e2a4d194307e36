"""A second look at a detector's boxes: another network sees each of them cut out, and says what it is.

With ten images a detector learns where things are sooner than what they are, since its weights come from other things.
A classifier's backbone knows many kinds of things, so its frozen features of a handful of boxes tell labels apart. A
box's score is then what the detector says of its best label, times the share that the second network gives a label.

No torch: serving imports this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tenshot.automl.bundle import Input
from tenshot.projects.errors import BundleError

FOLDER = "second_look"
FILE = "second_look.json"
MOST = 6
"""Boxes of an image that are looked at again."""
LEAST_SCORE = 0.03
"""Of a box that is worth it."""
OVERLAP = 0.6
"""Boxes of one place (IoU above it) are looked at once, whatever their labels."""
UNSEEN = 0.1
"""What is left of the scores of boxes beyond those."""
CONTEXT = 0.1
"""Of a box's sides, on each side: what is seen of its surroundings."""

Array = NDArray[np.float32]
Cut = Callable[[NDArray[np.float64]], Array]
"""Boxes [M, 4] (left, top, width, height in the detector's input pixels) → the second network's inputs [M, 3, S, S]."""


@dataclass(frozen=True, eq=False)
class SecondLook:
    network: Callable[[Array], Array]
    """[M, 3, S, S] → [M, C + 1] shares that sum to 1, the last one of no label."""
    input: Input

    def rescored(self, output: Array, cut: Cut) -> Array:
        """A detector's output [4 + C, A] with new scores; boxes stay as they are."""
        anchors, tlwh = candidates(output)
        if not len(anchors):
            return output
        shares = self.network(cut(tlwh))[:, :-1]
        found = output.copy()
        found[4:] *= UNSEEN
        found[4:, _hidden(output, tlwh)] = 0.0
        found[4:, anchors] = (output[4:, anchors].max(axis=0)[:, None] * shares).T
        return found

    @classmethod
    def load(cls, directory: Path, runtime: Callable[[Path, int], Any], threads: int) -> SecondLook | None:
        """Of a bundle; None if it has none. Raises BundleError."""
        folder = directory / FOLDER
        if not (folder / FILE).is_file():
            return None
        try:
            found = json.loads((folder / FILE).read_text("utf-8"))
            spec: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
            return cls(runtime(folder, threads), Input(**spec))
        except (AttributeError, TypeError, ValueError) as error:
            raise BundleError(f"{folder / FILE} is damaged: {error}", hint="train again") from None


def write_input(folder: Path, spec: Input) -> None:
    """Beside the second network's files."""
    (folder / FILE).write_text(json.dumps(asdict(spec)) + "\n", "utf-8")


def candidates(output: Array) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Anchors of the best boxes that do not overlap, at most MOST, best first, and their left, top, width, height."""
    score = output[4:].max(axis=0)
    strong = np.flatnonzero(score >= LEAST_SCORE)
    tlwh = _tlwh(output[:4, strong])
    kept = cv2.dnn.NMSBoxes(tlwh.tolist(), score[strong].astype(float).tolist(), LEAST_SCORE, OVERLAP)
    best = np.asarray(kept, np.int64).reshape(-1)[:MOST]
    return strong[best], tlwh[best]


def _tlwh(boxes: Array) -> NDArray[np.float64]:
    x, y, w, h = boxes.astype(np.float64)
    return np.stack([x - w / 2, y - h / 2, w, h], axis=1)


def _hidden(output: Array, looked_at: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[A] which anchors are at a place that is looked at through another anchor."""
    all_ = _tlwh(output[:4])
    corners = np.concatenate([all_[:, :2], all_[:, :2] + all_[:, 2:]], axis=1)
    hidden = np.zeros(len(corners), np.bool_)
    for left, top, width, height in looked_at:
        across = np.minimum(corners[:, 2], left + width) - np.maximum(corners[:, 0], left)
        down = np.minimum(corners[:, 3], top + height) - np.maximum(corners[:, 1], top)
        shared = np.maximum(across, 0.0) * np.maximum(down, 0.0)
        union = all_[:, 2] * all_[:, 3] + width * height - shared
        hidden |= shared > OVERLAP * union
    return hidden
