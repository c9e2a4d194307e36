"""What a search hands to the rest of training, whatever the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tenshot.automl.bundle import Input, Suppression
from tenshot.automl.evaluation.outcomes import Outcome
from tenshot.automl.predictor import Network


@dataclass(frozen=True)
class TrialRecord:
    number: int
    kind: str
    params: dict[str, Any]
    value: float | None
    """The objective, larger is better; None if the trial did not finish."""
    sd: float | None
    seconds: float
    state: str
    started_at: float = 0.0
    """Seconds since the epoch; 0: not known."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Series:
    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Trained:
    labels: tuple[str, ...]
    base: str
    """Row of the catalogue that the network grew from."""
    input: Input
    suppression: Suppression | None
    oof: Outcome | None
    """Out-of-fold, uncalibrated; None when nothing could be held out."""
    network: Network
    """The trained torch network, for checking the export."""
    export: Callable[[Path], None]
    """Writes model.onnx, model.xml and model.bin into a folder."""
    params: dict[str, Any]
    objective: str
    """What the trials' values are, larger is better."""
    trials: list[TrialRecord]
    curves: list[Series] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
