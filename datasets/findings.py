"""What a check of a dataset says, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tenshot.datasets.annotations import Entry
from tenshot.projects.status import Task

if TYPE_CHECKING:
    from tenshot.datasets.duplicates import Fingerprint
    from tenshot.projects.workspace import Workspace

Severity = Literal["error", "warning", "info"]
MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Finding:
    severity: Severity
    code: str
    message: str
    advice: str
    """What to do."""
    examples: list[str] = field(default_factory=list)
    count: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "advice": self.advice,
            "examples": self.examples,
            "count": self.count,
        }


@dataclass(frozen=True)
class Inspection:
    """A dataset version as the checks see it."""

    workspace: Workspace
    task: Task
    entries: list[Entry]
    """Of both splits."""
    fingerprints: Mapping[str, Fingerprint]
    """By image id; images that cannot be read are missing."""
    broken: Mapping[str, str]
    """Image id → why it cannot be read."""
    progress: Callable[[dict[str, Any]], None] = lambda values: None
    """Takes `{"done", "total", "what"}`."""

    @property
    def readable(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.image in self.fingerprints]


Check = Callable[[Inspection], Iterable[Finding]]


def finding(
    severity: Severity, code: str, message: str, advice: str, examples: list[str], count: int | None = None
) -> Finding:
    """With the first ten examples; `count` is that of the examples unless it is given."""
    return Finding(severity, code, message, advice, examples[:MAX_EXAMPLES], len(examples) if count is None else count)


def label_counts(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Label → split → images that have it (in boxes or as a whole), labels in order of their names."""
    counts: dict[str, dict[str, int]] = {}
    for entry in entries:
        for label in {*entry.labels, *(box.label for box in entry.boxes)}:
            counts.setdefault(label, {"train": 0, "test": 0})[entry.split] += 1
    return dict(sorted(counts.items()))
