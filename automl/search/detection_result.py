"""What the detection search found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tenshot.automl.bundle import Suppression
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.evaluation.outcomes import DetectionOutcome
from tenshot.automl.search.detection_budget import Plan
from tenshot.automl.search.detection_second import Crops
from tenshot.automl.trials import Trial


@dataclass(frozen=True)
class DetectionResult:
    recipe: Recipe
    detector: Any
    """Trained on all images with `recipe`; a detector of the family."""
    input_px: int
    """Side of the input that it answers best at."""
    suppression: Suppression
    second: Crops | None
    """What gives its boxes a second look; None: nobody does."""
    outcome: DetectionOutcome | None
    """Out-of-fold predictions of the chosen recipe; None: the budget allowed no cross-validation."""
    folds: int
    """How many it was made with; 0: none."""
    metric: float | None
    """mAP50 of `outcome`; None: unknown."""
    fold_scores: tuple[float, ...]
    history: tuple[dict[str, float], ...]
    """One row per epoch of its fit: epoch and mean losses."""
    trials: tuple[Trial, ...]
    plan: Plan
    seconds: float
    warnings: tuple[str, ...] = ()
