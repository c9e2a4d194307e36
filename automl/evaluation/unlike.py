"""Which of the measured images look unlike the training images, for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tenshot.automl.evaluation.mistakes import LoadImage, thumbnail
from tenshot.automl.evaluation.outcomes import Outcome

NOTICED = 0.1
"""Share of its confidence that an image must lose to be counted."""


@dataclass(frozen=True)
class Stranger:
    image: str
    novelty: float
    """0…1."""
    picture: str
    """data URI; empty if the image could not be loaded."""
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Unlike:
    count: int
    """Images that lose at least a tenth of their confidence."""
    of: int
    strangest: list[Stranger]


def unlike(outcome: Outcome, load: LoadImage, most: int = 6) -> Unlike | None:
    """The strangest first; None where novelty is not known."""
    novelty = getattr(outcome, "novelty", None)
    if novelty is None:
        return None
    order = [int(i) for i in np.argsort(-novelty, kind="stable") if novelty[i] >= NOTICED]
    shown = [Stranger(outcome.images[i], float(novelty[i]), *thumbnail(load, outcome.images[i])) for i in order[:most]]
    return Unlike(len(order), len(outcome), shown)
