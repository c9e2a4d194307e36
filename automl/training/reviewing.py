"""What a training says about its data, gathered from the images, the out-of-fold scores and the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tenshot.automl.evaluation import growth, suspects
from tenshot.automl.evaluation.outcomes import DetectionOutcome, Outcome
from tenshot.automl.evaluation.review import Leaks, Review, small_boxes
from tenshot.datasets import duplicates

if TYPE_CHECKING:
    from tenshot.automl.evaluation.growth import Forecast
    from tenshot.automl.training.trained import Trained
    from tenshot.datasets.annotations import Entry
    from tenshot.projects.workspace import Workspace

MOST_COMPARED = 5000
"""Images beyond which leaks are left to `tenshot dataset check`: each has to be read and shrunk."""
MOST_EXAMPLES = 20


def review(
    workspace: Workspace, trained: Trained, oof: Outcome | None, train: Sequence[Entry], test: Sequence[Entry]
) -> Review:
    """`oof`: calibrated."""
    detection = isinstance(oof, DetectionOutcome)
    forecast = _forecast(trained, oof)
    return Review(
        label_errors=suspects.label_errors(oof) if oof else (),
        unlabeled=suspects.unlabeled_objects(oof) if isinstance(oof, DetectionOutcome) else (),
        small_boxes=small_boxes([*train, *test], (trained.input.height, trained.input.width)) if detection else None,
        leaks=_leaks(workspace, train, test),
        growth=forecast,
        growth_note="" if forecast else _why_not(detection, trained),
    )


def _leaks(workspace: Workspace, train: Sequence[Entry], test: Sequence[Entry]) -> Leaks | None:
    if not test or len(train) + len(test) > MOST_COMPARED:
        return None
    pairs = duplicates.leaks(workspace, train, test)
    return Leaks(len(pairs), len(test), [(one.name, other.name) for one, other in pairs[:MOST_EXAMPLES]])


def _forecast(trained: Trained, oof: Outcome | None) -> Forecast | None:
    curve = trained.learning_curve
    if curve is None or oof is None:
        return None
    own = trained.params.get("kind") == "frozen"
    return growth.forecast(curve.points, now=curve.now, images=len(oof), metric=curve.metric, own=own)


def _why_not(detection: bool, trained: Trained) -> str:
    if detection:
        return "a detector has no learning curve: each of its points would be a training of minutes"
    if trained.oof is None:
        return "nothing was held out"
    return "too few images, or too little time left, to train on parts of them"
