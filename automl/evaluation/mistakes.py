"""The images that a version gets most wrong, as small pictures with what was there and what was said."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.evaluation import detection_metrics, metrics
from tenshot.automl.evaluation.outcomes import Bools, ClassificationOutcome, DetectionOutcome, Floats, Outcome
from tenshot.projects.errors import TenshotError

LONGEST_PX = 320
JPEG_QUALITY = 80
MOST_BOXES = 60
_TINY = 1e-6

LoadImage = Callable[[str], NDArray[np.uint8]]
"""sha256 → upright RGB [H, W, 3]."""


@dataclass(frozen=True)
class Rectangle:
    kind: str
    """`found` and `missed` (truth), `right` and `false` (predictions)."""
    x: float
    y: float
    width: float
    height: float
    """Pixels of the thumbnail."""
    title: str


@dataclass(frozen=True)
class Mistake:
    image: str
    wrong: bool
    """False: right, but among the least sure."""
    truth: str
    """The true label and its score; multilabel: the labels missed; detection: how many boxes there are, and missed."""
    said: str
    """The label said and its score; multilabel: the labels wrongly said; detection: how many boxes are right, false."""
    picture: str = ""
    """data URI; empty if the image could not be loaded."""
    width_px: int = LONGEST_PX
    height_px: int = LONGEST_PX
    rectangles: list[Rectangle] = field(default_factory=list)


def worst(outcome: Outcome, limits: Mapping[str, float], load: LoadImage, most: int = 12) -> list[Mistake]:
    """The worst first. If nothing is wrong, the least sure ones, fewer of them."""
    array = metrics.limits_of(outcome.labels, limits)
    if isinstance(outcome, DetectionOutcome):
        return _worst_detections(outcome, array, load, most)
    wrong = metrics.correct(outcome, array) < 1
    surprise = _surprise(outcome)
    order = np.argsort(-(surprise + 1e6 * wrong), kind="stable")
    count = min(most, int(wrong.sum())) or min(4, len(outcome))
    return [_mistake(outcome, array, int(i), bool(wrong[i]), load) for i in order[:count]]


def _surprise(outcome: ClassificationOutcome) -> Floats:
    """[N] nats: how unlikely the truth was held to be."""
    told = np.where(outcome.truth, outcome.scores, 1 - outcome.scores)
    cells = -np.log(np.clip(told, _TINY, 1.0))
    return np.asarray((cells * outcome.truth).sum(axis=1) if outcome.exclusive else cells.sum(axis=1), np.float64)


def _mistake(outcome: ClassificationOutcome, limits: Floats, i: int, wrong: bool, load: LoadImage) -> Mistake:
    truth, said = outcome.truth[i], outcome.scores[i] >= limits
    if outcome.exclusive:
        said = np.arange(len(truth)) == outcome.scores[i].argmax()
        left, right = truth, said
    else:
        left, right = truth & ~said, said & ~truth

    def listed(chosen: Bools) -> str:
        return (
            ", ".join(f"{outcome.labels[c]} ({outcome.scores[i, c]:.0%})" for c in np.flatnonzero(chosen)) or "nothing"
        )

    return Mistake(outcome.images[i], wrong, listed(left), listed(right), *thumbnail(load, outcome.images[i]))


def _worst_detections(outcome: DetectionOutcome, limits: Floats, load: LoadImage, most: int) -> list[Mistake]:
    badness = np.array([_badness(outcome, limits, i) for i in range(len(outcome))])
    order = np.argsort(-badness, kind="stable")
    count = min(most, int((badness > 0).sum())) or min(4, len(outcome))
    return [_boxed(outcome, limits, int(i), load) for i in order[:count]]


def _badness(outcome: DetectionOutcome, limits: Floats, i: int) -> float:
    """Boxes missed, and false ones by how sure the detector was of them."""
    found = outcome.predictions[i]
    hits, missed = detection_metrics.judge(outcome.truth[i], found, limits)
    said = found.score >= limits[found.label]
    return float(len(missed) + found.score[said & ~hits].sum())


def _boxed(outcome: DetectionOutcome, limits: Floats, i: int, load: LoadImage) -> Mistake:
    truth, found = outcome.truth[i], outcome.predictions[i]
    picture, width, height = thumbnail(load, outcome.images[i])
    hits, missed = detection_metrics.judge(truth, found, limits)
    said = np.flatnonzero(found.score >= limits[found.label])

    def rectangle(kind: str, xyxy: Floats, title: str) -> Rectangle:
        left, top, right, bottom = (xyxy * [width, height, width, height]).round(1).tolist()
        return Rectangle(kind, left, top, max(1.0, right - left), max(1.0, bottom - top), title)

    shown = [
        rectangle("missed" if k in missed else "found", truth.xyxy[k], f"truth: {outcome.labels[truth.label[k]]}")
        for k in range(len(truth))
    ] + [
        rectangle(
            "right" if hits[k] else "false", found.xyxy[k], f"{outcome.labels[found.label[k]]} {found.score[k]:.0%}"
        )
        for k in said[:MOST_BOXES]
    ]
    false = int((~hits[said]).sum())
    said_text = f"{int(hits[said].sum())} right, {false} false"
    truth_text = f"{len(truth)} {'box' if len(truth) == 1 else 'boxes'}, {len(missed)} missed"
    return Mistake(outcome.images[i], bool(false or len(missed)), truth_text, said_text, picture, width, height, shown)


def thumbnail(load: LoadImage, image: str) -> tuple[str, int, int]:
    """data URI of a JPEG of at most 320 px, its width and height; an empty URI if the image cannot be loaded."""
    from PIL import Image

    try:
        small = Image.fromarray(load(image))
    except (TenshotError, OSError):  # the report of a version outlives its pictures
        return "", LONGEST_PX, LONGEST_PX * 3 // 4
    small.thumbnail((LONGEST_PX, LONGEST_PX))
    if max(small.size) < LONGEST_PX // 2:  # a 32 px picture is shown larger, so that boxes on it can be told apart
        scale = LONGEST_PX // 2 // max(small.size) + 1
        small = small.resize((small.width * scale, small.height * scale))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), small.width, small.height
