"""A trial of a search, as the report, MLflow and the command line show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Trial:
    number: int
    kind: str
    """What was tried: `frozen`, `finetune`; for detectors `default`, `first` (a known alternative) or `drawn`."""
    params: Mapping[str, Any]
    value: float | None
    """The cross-validated objective, larger is better; None if the trial did not finish."""
    sd: float | None
    """Its spread: standard error over the images, or standard deviation over the folds."""
    seconds: float
    state: str
    """`complete`, `pruned`, `fail`, …"""
    started_at: float = 0.0
    """Seconds since the epoch; 0: not known."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
