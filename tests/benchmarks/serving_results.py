"""What the serving benchmark measured: one line of JSON a part, and the tables made of the newest of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import page

from tenshot.serving.benching.figures import Stage


@dataclass(frozen=True)
class Goal:
    measure: str
    value: str
    wanted: str
    met: bool


@dataclass(frozen=True)
class Line:
    """What served, and how it did."""

    what: str
    clients: int | None
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cores: float | None = None
    memory_mb: float | None = None
    failed: int = 0

    @property
    def cpu_ms(self) -> float | None:
        """CPU time of what serves, for each answer: the one figure that other work on the machine leaves as it is."""
        return None if self.cores is None or not self.per_second else 1000 * self.cores / self.per_second

    @classmethod
    def of(cls, what: str, stage: Stage, *, clients: bool = True) -> Line:
        return cls(
            what,
            stage.clients if clients else None,
            stage.per_second,
            stage.p50_ms or 0.0,
            stage.p95_ms or 0.0,
            stage.p99_ms or 0.0,
            stage.cores,
            None if stage.memory_bytes is None else stage.memory_bytes / 1e6,
            stage.failures,
        )


@dataclass(frozen=True)
class Part:
    name: str
    asked: Mapping[str, Any]
    """What it was measured with; a part is not measured again for the same."""
    machine: str
    day: str
    goals: Sequence[Goal] = ()
    lines: Sequence[Line] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Part:
        goals, lines = (Goal(**goal) for goal in document["goals"]), (Line(**line) for line in document["lines"])
        return cls(**document | {"goals": tuple(goals), "lines": tuple(lines), "notes": tuple(document["notes"])})


def append(path: Path, part: Part) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(part.to_json()) + "\n")


def load(path: Path) -> dict[str, Part]:
    """The newest of every part. A line that is torn or of an older form is passed over."""
    found = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            part = Part.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError):
            continue
        found[part.name] = part
    return found


def text(order: Sequence[str], found: Mapping[str, Part]) -> str:
    """Goals and figures as Markdown, the parts in this order."""
    parts = [found[name] for name in order if name in found]
    if not parts:
        return "Not measured yet."
    goals = [(g.measure, g.value, g.wanted, "yes" if g.met else "**no**") for part in parts for g in part.goals]
    lines = [_cells(line) for part in parts for line in part.lines]
    where = sorted({f"{part.machine} · {part.day}" for part in parts})
    headings = ("what", "clients", "requests/s", "p50 ms", "p95 ms", "p99 ms", "cores", "CPU ms", "memory", "failed")
    blocks = [
        "`make bench-serving` · " + "; ".join(where),
        page.table(("measure", "measured", "aimed at", "reached"), goals),
        page.table(headings, lines),
        "\n".join(f"- {note}" for part in parts for note in part.notes),
    ]
    return "\n\n".join(block for block in blocks if block)


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.what,
        "–" if line.clients is None else str(line.clients),
        *(f"{value:.1f}" for value in (line.per_second, line.p50_ms, line.p95_ms, line.p99_ms)),
        "–" if line.cores is None else f"{line.cores:.2f}",
        "–" if line.cpu_ms is None else f"{line.cpu_ms:.1f}",
        "–" if line.memory_mb is None else f"{line.memory_mb:.0f} MB",
        str(line.failed),
    )
