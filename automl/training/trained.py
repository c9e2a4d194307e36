"""What a search hands to the rest of training, whatever the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenshot.automl.bundle import Input, Suppression
from tenshot.automl.evaluation.outcomes import Outcome
from tenshot.automl.predictor import Network
from tenshot.automl.second_look import SecondLook
from tenshot.automl.trials import Trial


@dataclass(frozen=True)
class Series:
    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class LearningCurve:
    """Out-of-fold scores of a recipe trained on parts of the images."""

    points: list[tuple[float, float, float]]
    """Images per label (mean over the labels), mean score 0…1, its standard deviation; smallest first."""
    now: float
    """Images per label that the version is trained on."""
    metric: str


@dataclass(frozen=True)
class Trained:
    labels: tuple[str, ...]
    base: str
    """Row of the catalogue that the network grew from; several are joined by `+`."""
    input: Input
    suppression: Suppression | None
    oof: Outcome | None
    """Out-of-fold, uncalibrated; None when nothing could be held out."""
    oof_share: float
    """Of the training images, 0…1: what each model behind `oof` learned from, on the mean."""
    network: Network
    """The trained torch network, for checking the export."""
    export: Callable[[Path], None]
    """Writes model.onnx, model.xml and model.bin into a folder."""
    params: dict[str, Any]
    objective: str
    """What the trials' values are, larger is better."""
    trials: list[Trial]
    curves: list[Series] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    learning_curve: LearningCurve | None = None
    """None where it was not cheap."""
    second: SecondLook | None = None
    """What gives a detector's boxes a second look, as it was learned; part of what `export` writes."""
