"""What the detection search found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tenshot.automl.bundle import Suppression
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.evaluation.outcomes import DetectionOutcome
from tenshot.automl.search.detection_budget import Plan


@dataclass(frozen=True)
class DetectionTrial:
    number: int
    kind: str
    """default, first (a known alternative) or drawn (by the sampler)."""
    params: dict[str, float]
    value: float | None
    """mAP50 of the out-of-fold predictions of all images; None if the trial did not finish."""
    sd: float | None
    """Standard deviation of the folds' mAP50."""
    seconds: float
    state: str
    """complete, pruned (hopeless after some folds), or fail (an error, or interrupted)."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class DetectionResult:
    recipe: Recipe
    detector: Any
    """Trained on all images with `recipe`; a detector of the family."""
    suppression: Suppression
    outcome: DetectionOutcome | None
    """Out-of-fold predictions of the chosen recipe; None: the budget allowed no cross-validation."""
    metric: float | None
    """mAP50 of `outcome`; None: unknown."""
    fold_scores: tuple[float, ...]
    history: tuple[dict[str, float], ...]
    """One row per epoch of the final fit: epoch and mean losses."""
    trials: tuple[DetectionTrial, ...]
    plan: Plan
    seconds: float
