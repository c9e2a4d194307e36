"""Pictures of the annotations that are probably wrong, with what is said against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenshot.automl.evaluation.mistakes import LoadImage, Rectangle, thumbnail
from tenshot.automl.evaluation.outcomes import DetectionOutcome, Outcome
from tenshot.automl.evaluation.review import described
from tenshot.automl.evaluation.suspects import Suspect

MOST_OTHERS = 60


@dataclass(frozen=True)
class Doubt:
    image: str
    said: str
    """Against the annotation, in words."""
    sure: float
    """0…1, the highest of the image."""
    picture: str
    """data URI; empty if the image could not be loaded."""
    width_px: int
    height_px: int
    rectangles: list[Rectangle]


def doubts(suspects: Sequence[Suspect], oof: Outcome | None, load: LoadImage, most: int) -> list[Doubt]:
    """One picture an image, surest first; boxes that are not in doubt are drawn as well."""
    by_image: dict[str, list[Suspect]] = {}
    for suspect in suspects:
        by_image.setdefault(suspect.image, []).append(suspect)
    return [_doubt(image, found, oof, load) for image, found in list(by_image.items())[:most]]


def _doubt(image: str, found: Sequence[Suspect], oof: Outcome | None, load: LoadImage) -> Doubt:
    picture, width, height = thumbnail(load, image)
    said = "; ".join(f"{described(s)} ({s.sure:.0%})" for s in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    size = (width, height)
    drawn = [_rectangle("doubted", s.xyxy, f"{described(s)} ({s.sure:.0%})", size) for s in found if s.xyxy]
    return Doubt(image, said + more, found[0].sure, picture, width, height, [*_others(image, found, oof, size), *drawn])


def _others(image: str, found: Sequence[Suspect], oof: Outcome | None, size: tuple[int, int]) -> list[Rectangle]:
    """The annotated boxes of the image that are not in doubt."""
    if not isinstance(oof, DetectionOutcome) or image not in oof.images:
        return []
    truth = oof.truth[oof.images.index(image)]
    doubted = {s.xyxy for s in found}
    boxes = [(tuple(float(v) for v in truth.xyxy[k]), oof.labels[truth.label[k]]) for k in range(len(truth))]
    return [_rectangle("found", box, f"annotated: {label}", size) for box, label in boxes if box not in doubted][
        :MOST_OTHERS
    ]


def _rectangle(kind: str, xyxy: Sequence[float], title: str, size: tuple[int, int]) -> Rectangle:
    left, top, right, bottom = xyxy
    width, height = size
    return Rectangle(
        kind,
        round(left * width, 1),
        round(top * height, 1),
        max(1.0, round((right - left) * width, 1)),
        max(1.0, round((bottom - top) * height, 1)),
        title,
    )
