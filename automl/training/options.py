"""What the user asks of one training. It travels in the job's payload, so that a resumed training asks the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Options:
    budget_s: float
    """Wall-clock seconds."""
    trials: int | None = None
    """Most trials; None: as the settings say."""
    seed: int = 0
    base: str | None = None
    """A row of the catalogue or an adopted base (`timm:resnet18.a1_in1k`); None: the task's defaults."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """The user's own search space as read from the file; it can only narrow the product's. Empty: the product's."""
    min_precision: float = 0.0
    """0…1; thresholds are chosen so that each label reaches it on the out-of-fold scores, where that is possible."""
    min_recall: float = 0.0

    def to_payload(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Options:
        """Of a job; keys that are no options (the dataset version) are left out, missing ones get their default."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in payload.items() if key in known})
