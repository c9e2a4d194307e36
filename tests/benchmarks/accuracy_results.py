"""What is asked of the accuracy benchmark, the file that its results are kept in, and the tables made of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import page

OWN = "tenshot"
METHODS = {
    OWN: "Tenshot",
    "logistic": "logistic regression",
    "fine-tuning": "plain fine-tuning",
    "ultralytics": "Ultralytics' defaults",
}
"""Name in METHODS= → heading of its column."""
METRICS = {"classification": "accuracy", "detection": "mAP50"}
BUDGET_SLACK = 0.10
COVERAGE = 0.90


@dataclass(frozen=True)
class Wanted:
    """A row of the table. Figures are the test split's accuracy or mAP50, 0…1."""

    name: str
    shots: str
    least: float | None = None
    stretch: float | None = None
    floor: tuple[float, float] | None = None
    """Mean and sd over ten draws, measured once with the logistic regression (docs/classification-recipe.md)."""

    @property
    def key(self) -> str:
        return f"{self.name}/{self.shots}"


ROWS = (
    Wanted("hemlock_cherry", "5_per_class", 1.00, floor=(1.000, 0.000)),
    Wanted("shoes", "10_per_class", 0.92, 0.95, (0.911, 0.037)),
    Wanted("sign_digits", "10_per_class", 0.94, 0.97, (0.786, 0.021)),
    Wanted("toy_defects", "10_per_class", 0.85, 0.92, (0.824, 0.039)),
    Wanted("trash", "10_per_class", 0.71, 0.78, (0.686, 0.025)),
    Wanted("sign_digits", "10_total", 0.47, 0.60, (0.431, 0.066)),
    Wanted("trash", "10_total", 0.40, 0.48, (0.376, 0.064)),
    Wanted("blood_cells", "10_total", 0.85, 0.90),
    Wanted("raccoon", "10_total", 0.78, 0.88),
    Wanted("microcontrollers", "10_total", 0.60, 0.85),
    Wanted("fork_scissors", "10_total", 0.75, 0.95),
)


def rows(only: Sequence[str]) -> list[Wanted]:
    """The rows that `only` names (`trash`, `trash/10_total`); all without it. A set and shots that are in no row of the
    table get one without a goal."""
    if not only:
        return list(ROWS)
    found = [row for row in ROWS if row.name in only or row.key in only]
    known = {row.key for row in found}
    others = [word.partition("/") for word in only if "/" in word and word not in known]
    return found + [Wanted(name, shots) for name, _, shots in others]


@dataclass(frozen=True)
class Measured:
    """One training: a line of the results file. Figures 0…1, seconds; None where a method says nothing of the kind."""

    set: str
    shots: str
    seed: int
    """Of the draw of the training images."""
    method: str
    task: str
    train_images: int
    test_images: int
    value: float
    """Of the test split."""
    interval: tuple[float, float]
    """95 %, from the test images."""
    wall_s: float
    """Training and the evaluation on the test split."""
    cpu_s: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    brier: float | None = None
    brier_uncalibrated: float | None = None
    cross_validated: float | None = None
    """What a report without a test split would say, and its interval."""
    cross_validated_interval: tuple[float, float] | None = None
    budget_s: float | None = None
    trials: int | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    code: str = ""
    machine: str = ""
    date: str = ""

    @property
    def key(self) -> tuple[str, str, int, str, float | None]:
        return self.set, self.shots, self.seed, self.method, self.budget_s

    @property
    def covers(self) -> bool | None:
        """Whether the cross-validated interval holds what the test split then showed."""
        if self.cross_validated_interval is None:
            return None
        low, high = self.cross_validated_interval
        return low <= self.value <= high

    @property
    def overdraft(self) -> float:
        """Share of the budget beyond it; below 0 where some was left."""
        return self.wall_s / self.budget_s - 1 if self.budget_s else 0.0

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "covers": self.covers, "overdraft": self.overdraft if self.budget_s else None}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Measured:
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in document.items() if key in known})  # type: ignore[arg-type]


def append(path: Path, measured: Measured) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_short = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as target:
        target.write(("\n" if cut_short else "") + json.dumps(measured.to_json(), ensure_ascii=False) + "\n")


def load(path: Path) -> dict[tuple[str, str, int, str, float | None], Measured]:
    """The youngest of each key. A line that was cut short by a kill is passed over."""
    found = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            measured = Measured.from_json(json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        found[measured.key] = measured
    return found


# Tables -----------------------------------------------------------------------------------------------------------


def tables(wanted: Sequence[Wanted], known: Iterable[Measured]) -> str:
    """Two Markdown tables: how good, and how honest."""
    by_row: dict[str, list[Measured]] = {row.key: [] for row in wanted}
    for measured in known:
        by_row.setdefault(f"{measured.set}/{measured.shots}", []).append(measured)
    shown = [row for row in wanted if by_row[row.key]]
    return "\n\n".join([_accuracy(shown, by_row), _honesty(shown, by_row)])


def _accuracy(wanted: Sequence[Wanted], by_row: Mapping[str, Sequence[Measured]]) -> str:
    headings = ("set", "training images", "metric", "draws", "at least", "stretch", "reached")
    cells = [_accuracy_row(row, by_row[row.key]) for row in wanted]
    return page.table((*headings, *METHODS.values(), "floor (10 draws)"), cells)


def _accuracy_row(row: Wanted, known: Sequence[Measured]) -> list[str]:
    own = [m for m in known if m.method == OWN]
    draws = sorted({m.seed for m in own or known})
    metric = METRICS[known[0].task]
    columns = [_column([m for m in known if m.method == method], draws) for method in METHODS]
    floor = f"{row.floor[0]:.3f} ± {row.floor[1]:.3f}" if row.floor else "–"
    return [
        row.name, row.shots.replace("_", " "), metric, ", ".join(map(str, draws)), _number(row.least, 2),
        _number(row.stretch, 2), _reached(row, own), *columns, floor,
    ]  # fmt: skip


def _column(known: Sequence[Measured], draws: Sequence[int]) -> str:
    """With its own draws where they are others than the row's."""
    own = sorted(m.seed for m in known)
    return _mean_sd([m.value for m in known]) + (
        f" (draws {', '.join(map(str, own))})" if known and own != list(draws) else ""
    )


def _reached(row: Wanted, own: Sequence[Measured]) -> str:
    if not own or row.least is None:
        return "–"
    mean = statistics.fmean(m.value for m in own)
    if row.floor and mean < row.floor[0] - row.floor[1]:
        return "**below the floor**"
    if row.stretch and mean >= row.stretch:
        return "stretch"
    return "yes" if mean >= row.least else "no"


def _honesty(wanted: Sequence[Wanted], by_row: Mapping[str, Sequence[Measured]]) -> str:
    headings = (
        "set", "training images", "draws", "cross-validated", "its interval holds the test figure",
        "Brier on the test split", "the same, uncalibrated", "calibrated ≤ uncalibrated", "budget", "longest training",
    )  # fmt: skip
    own = {row: [m for m in by_row[row.key] if m.method == OWN] for row in wanted}
    cells = [_honesty_row(row, found) for row, found in own.items() if found]
    everything = [m for found in own.values() for m in found]
    return f"{page.table(headings, cells)}\n\n{summary(everything)}"


def _honesty_row(row: Wanted, own: Sequence[Measured]) -> list[str]:
    said = [m.covers for m in own if m.covers is not None]
    after, before = _means(own)
    worst = max(own, key=lambda m: m.overdraft)
    return [
        row.name, row.shots.replace("_", " "), str(len(own)),
        _mean_sd([m.cross_validated for m in own if m.cross_validated is not None]),
        f"{sum(said)} of {len(said)}" if said else "–", _number(after, 4), _number(before, 4),
        "–" if after is None or before is None else "yes" if after <= before else "no",
        f"{worst.budget_s or 0:.0f} s", f"{worst.wall_s:.0f} s ({100 * worst.overdraft:+.0f} %)",
    ]  # fmt: skip


def summary(own: Sequence[Measured]) -> str:
    """One sentence on each promise, over all of Tenshot's trainings."""
    said = [m.covers for m in own if m.covers is not None]
    if not own:
        return "Nothing of Tenshot's own was measured yet."
    share = f"{sum(said)} of {len(said)} ({100 * sum(said) / len(said):.0f} %)" if said else "none"
    kept = sum(m.overdraft <= BUDGET_SLACK for m in own)
    cpu = sum(m.cpu_s for m in own) / max(1e-9, sum(m.wall_s for m in own))
    return (
        f"Cross-validated 95 % intervals that hold the figure of the test split: {share}; aimed at: "
        f"{100 * COVERAGE:.0f} %. Trainings within 110 % of their budget: {kept} of {len(own)}. "
        f"On average they kept {cpu:.1f} cores busy."
    )


def _means(own: Sequence[Measured]) -> tuple[float | None, float | None]:
    """Mean Brier score after and before calibration."""
    pairs = [(m.brier, m.brier_uncalibrated) for m in own]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not known:
        return None, None
    return statistics.fmean(a for a, _ in known), statistics.fmean(b for _, b in known)


def _mean_sd(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
