"""What a model said about labeled images: the raw material of every metric, interval, threshold and plot.

Outcomes are saved beside the version (`study/oof.npz` for out-of-fold scores, `study/test.npz` for the test split) so
that a metric can be computed again later without the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ClassificationOutcome:
    labels: tuple[str, ...]
    """C names."""
    images: tuple[str, ...]
    """N image ids (sha256)."""
    truth: Bools
    """[N, C]; exactly one True per row if `exclusive`."""
    raw: Floats
    """[N, C] logits before calibration."""
    scores: Floats
    """[N, C] calibrated, 0…1."""
    exclusive: bool
    """True: one label per image (classification). False: any number (multilabel)."""
    novelty: Floats | None = None
    """[N] 0…1: how unlike the training images each is; the scores are calibrated ones times the rest. None: not known,
    and the scores are the calibrated ones."""

    def judged(self, scores: Floats, novelty: Floats | None = None) -> ClassificationOutcome:
        """The same images with other calibrated scores [N, C], of which novelty (its own, or this) takes its share."""
        found = self.novelty if novelty is None else novelty
        return replace(self, scores=scores if found is None else scores * (1.0 - found)[:, None], novelty=found)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Boxes:
    """K boxes of one image."""

    xyxy: Floats
    """[K, 4] ratios of the upright image."""
    label: Ints
    """[K] index into the outcome's labels."""
    score: Floats
    """[K] calibrated, 0…1; ones for ground truth."""
    raw: Floats
    """[K] scores before calibration, 0…1; ones for ground truth."""

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class DetectionOutcome:
    labels: tuple[str, ...]
    images: tuple[str, ...]
    truth: tuple[Boxes, ...]
    predictions: tuple[Boxes, ...]
    """Down to a low score (0.001), best first."""

    def __len__(self) -> int:
        return len(self.images)


Outcome = ClassificationOutcome | DetectionOutcome


def save(outcome: Outcome, path: Path) -> None:
    """Write as compressed npz (no pickle inside)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = {"labels": np.array(outcome.labels), "images": np.array(outcome.images)}
    if isinstance(outcome, ClassificationOutcome):
        arrays |= {"truth": outcome.truth, "raw": outcome.raw, "scores": outcome.scores}
        arrays["exclusive"] = np.array(outcome.exclusive)
        if outcome.novelty is not None:
            arrays["novelty"] = outcome.novelty
    else:
        for side, boxes in (("truth", outcome.truth), ("predictions", outcome.predictions)):
            arrays |= _flatten(side, boxes)
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stub has no **kwargs of arrays
    temporary.replace(path)


def load(path: Path) -> Outcome:
    """Read what `save` wrote. Raises FileNotFoundError."""
    with np.load(path, allow_pickle=False) as data:
        labels, images = tuple(data["labels"].tolist()), tuple(data["images"].tolist())
        if "exclusive" in data:
            novelty = data.get("novelty")
            return ClassificationOutcome(
                labels, images, data["truth"], data["raw"], data["scores"], bool(data["exclusive"]), novelty
            )
        return DetectionOutcome(labels, images, _unflatten("truth", data), _unflatten("predictions", data))


def _flatten(side: str, boxes: tuple[Boxes, ...]) -> dict[str, NDArray[Any]]:
    return {
        f"{side}_count": np.array([len(b) for b in boxes], np.int64),
        f"{side}_xyxy": np.concatenate([b.xyxy.reshape(-1, 4) for b in boxes] or [np.zeros((0, 4))]),
        f"{side}_label": np.concatenate([b.label for b in boxes] or [np.zeros(0, np.int64)]),
        f"{side}_score": np.concatenate([b.score for b in boxes] or [np.zeros(0)]),
        f"{side}_raw": np.concatenate([b.raw for b in boxes] or [np.zeros(0)]),
    }


def _unflatten(side: str, data: Any) -> tuple[Boxes, ...]:
    ends = np.cumsum(data[f"{side}_count"])[:-1]
    parts = [np.split(data[f"{side}_{field}"], ends) for field in ("xyxy", "label", "score", "raw")]
    return tuple(Boxes(*fields) for fields in zip(*parts, strict=True)) if len(data[f"{side}_count"]) else ()
