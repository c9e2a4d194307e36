"""One version's report: a single HTML file that needs nothing else. Matplotlib and Jinja are imported when made."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from tenshot.automl.bundle import Base
from tenshot.automl.evaluation import advice, calibration, evaluate, intervals, plots
from tenshot.automl.evaluation.doubts import doubts
from tenshot.automl.evaluation.evaluate import Evaluation
from tenshot.automl.evaluation.mistakes import LoadImage, worst
from tenshot.automl.evaluation.outcomes import Outcome
from tenshot.automl.evaluation.review import Review
from tenshot.automl.evaluation.thresholds import Shortfall
from tenshot.automl.evaluation.unlike import unlike
from tenshot.automl.scores import Calibration
from tenshot.automl.trials import Trial
from tenshot.projects.clock import iso
from tenshot.projects.errors import EmptyDataError
from tenshot.projects.status import Task

LARGEST_BYTES = 3_000_000
MOST_MISTAKES = 12
MOST_TRIALS = 25
MOST_CONFUSION_LABELS = 20
MOST_LABEL_ROWS = 200
MEASURES = {  # in the order they are shown
    Task.CLASSIFICATION: ("accuracy", "macro_f1", "precision", "recall", "auc", "map", "brier", "nll", "ece"),
    Task.MULTILABEL: (
        *("macro_f1", "accuracy", "exact_match", "precision", "recall", "auc", "map", "brier", "nll", "ece"),
    ),
    Task.DETECTION: ("map50", "map50_95", "f1", "precision", "recall", "recall_100", "brier", "nll", "ece"),
}


@dataclass(frozen=True)
class TrainingCurve:
    name: str
    points: Sequence[tuple[float, float]]
    """(step, value), in order."""
    panel: str = "training"
    """Curves of one panel share their axes: give losses and scores different panels."""


@dataclass(frozen=True)
class ReportInput:
    project: str
    version: str
    """`NAME@V`"""
    task: Task
    created_at: float
    labels: tuple[str, ...]
    dataset_version: int
    dataset_stats: Mapping[str, Any]
    """As `DatasetVersion.stats`: `{"train": {"images", "labels": {name: count}}, "test": {…}, "refused": n}`."""
    oof: Outcome | None
    """Every training image, scored by a model that had not seen it; calibrated. None if there were too few to hold any
    out; then there must be a test outcome."""
    oof_evaluation: Evaluation | None
    thresholds: Mapping[str, float]
    calibration: Calibration
    base: Base
    load_image: LoadImage
    test: Outcome | None = None
    test_evaluation: Evaluation | None = None
    curves: Sequence[TrainingCurve] = ()
    trials: Sequence[Trial] = ()
    objective: str = "cross-validated score"
    """What `Trial.value` is."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Step → seconds."""
    parity: float | None = None
    """Largest absolute difference between the served and the trained network's scores on the same images."""
    warnings: Sequence[str] = ()
    shortfalls: Sequence[Shortfall] = ()
    """Labels whose thresholds miss the precision or recall that was asked for."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    review: Review = field(default_factory=Review)
    names: Mapping[str, str] = field(default_factory=dict)
    """sha256 → file name as the user knows it; missing ones are shown by the start of the hash."""

    @property
    def measured(self) -> tuple[Outcome, Evaluation, bool]:
        """What the headline is measured on, and whether that is the test split: it is if there is one."""
        if self.test is not None and self.test_evaluation is not None:
            return self.test, self.test_evaluation, True
        if self.oof is None or self.oof_evaluation is None:
            raise EmptyDataError("a report needs an outcome", hint="label test images, or more training images")
        return self.oof, self.oof_evaluation, False

    @property
    def outcome(self) -> Outcome:
        return self.measured[0]

    @property
    def evaluation(self) -> Evaluation:
        return self.measured[1]

    @property
    def tested(self) -> bool:
        return self.measured[2]


def render(report: ReportInput, path: Path) -> Path:
    """Write the report, at most 3 MB (fewer pictures if need be), and return `path`.

    Raises EmptyDataError if nothing was measured.
    """
    page = _page(report, MOST_MISTAKES)
    for fewer in (6, 3, 0):
        if len(page.encode()) <= LARGEST_BYTES:
            break
        page = _page(report, fewer)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, "utf-8")
    temporary.replace(path)
    return path


def _page(report: ReportInput, pictures: int) -> str:
    import jinja2
    from markupsafe import Markup

    folder = files("tenshot.automl.evaluation")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": _number, "interval": _interval, "seconds": _seconds, "measure": advice.label_of}
    template = environment.from_string((folder / "report.html").read_text("utf-8"))
    drawn = {name: Markup(svg) for name, svg in _plots(report).items()}  # noqa: S704  # matplotlib escapes its texts
    panels = [(name, Markup(svg)) for name, svg in _panels(report)]  # noqa: S704
    page: str = template.render(
        report=report,
        evaluation=report.evaluation,
        style=Markup((folder / "report.css").read_text("utf-8")),  # noqa: S704  # our own file
        created=iso(report.created_at),
        measures=_measures(report),
        plots=drawn,
        panels=panels,
        quality=_quality(report),
        bins=_bins(report),
        shortfalls={missed.label: missed for missed in report.shortfalls},
        wide=lambda pair: intervals.is_unproven(pair),
        rows=report.evaluation.labels[:MOST_LABEL_ROWS],
        show_confusion=report.evaluation.confusion and len(report.labels) <= MOST_CONFUSION_LABELS,
        pairs=advice.confused_pairs(report.evaluation),
        mistakes=worst(report.outcome, report.thresholds, report.load_image, pictures) if pictures else [],
        unlike=unlike(report.outcome, report.load_image, pictures // 2),
        review=report.review,
        wrong=doubts(report.review.label_errors, report.oof, report.load_image, pictures),
        unlabeled=doubts(report.review.unlabeled, report.oof, report.load_image, pictures),
        advice=_advice(report),
        trials=_best_trials(report),
        commands=_commands(report),
        rounded=_rounded,
    )
    return page


def _advice(report: ReportInput) -> list[str]:
    metric = report.review.growth.metric if report.review.growth else evaluate.PRIMARY[report.task]
    about_data = report.review.sentences(report.names, advice.label_of(metric))
    return advice.advise(report.evaluation, _train_counts(report), tested=report.tested, about_data=about_data)


def _measures(report: ReportInput) -> list[dict[str, Any]]:
    """A row per metric: name, and value and interval of each measured outcome."""
    sides = [("test", report.test_evaluation), ("out_of_fold", report.oof_evaluation)]
    rows = []
    for name in MEASURES[report.task]:
        row: dict[str, Any] = {"name": name, "primary": name == evaluate.PRIMARY[report.task]}
        for side, found in sides:
            if found is not None and name in found.metrics:
                row[side] = {
                    "value": found.metrics[name],
                    "interval": found.intervals.get(name),
                    "method": found.methods.get(name, ""),
                    "unproven": name in found.unproven,
                }
        if len(row) > 2:
            rows.append(row)
    return rows


def _plots(report: ReportInput) -> dict[str, str]:
    found = report.evaluation
    drawn = {}
    if found.curves["pr"]:
        drawn["pr"] = plots.precision_recall(*_weakest_curves(found))
    if found.curves["reliability"]:
        drawn["reliability"] = plots.reliability(found.curves["reliability"], _before(report)[0])
    done = [t for t in report.trials if t.value is not None and math.isfinite(t.value)]
    if done:
        values = [(float(t.number), float(t.value or 0.0)) for t in done]
        drawn["search"] = plots.search(values, [t.sd for t in done], report.objective)
    if forecast := report.review.growth:
        drawn["growth"] = plots.growth(forecast, advice.label_of(forecast.metric))
    return drawn


def _weakest_curves(found: Evaluation) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """The curves worth looking at: of the labels with the lowest average precision, if there are many."""
    rows = [row for row in found.labels if row["label"] in found.curves["pr"]]
    rows = sorted(rows, key=lambda row: float(row.get("ap50", row.get("ap", 0.0))))[: plots.MOST_SERIES]
    chosen = {row["label"] for row in rows}
    marks = {r["label"]: (r["recall"], r["precision"]) for r in rows if "recall" in r and "precision" in r}
    return {label: curve for label, curve in found.curves["pr"].items() if label in chosen}, marks


def _panels(report: ReportInput) -> list[tuple[str, str]]:
    names = dict.fromkeys(curve.panel for curve in report.curves if curve.points)
    return [
        (name, plots.lines([(c.name, c.points) for c in report.curves if c.panel == name and c.points], name, i))
        for i, name in enumerate(names)
    ]


def _before(report: ReportInput) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Reliability bins and quality of the headline's outcome as it was before calibration."""
    raw = calibration.apply_to(report.outcome, Calibration(report.calibration.kind))
    return evaluate.reliability(raw), calibration.quality(raw)


def _bins(report: ReportInput) -> list[dict[str, Any]]:
    """A row per bin of the reliability plot: `low`, `high`, and the bin `before` and `after`, each if it holds any."""
    sides = {"before": _before(report)[0], "after": report.evaluation.curves["reliability"]}
    rows: dict[float, dict[str, Any]] = {}
    for side, found in sides.items():
        for one in found:
            rows.setdefault(one["low"], {"low": one["low"], "high": one["high"]})[side] = one
    return [rows[low] for low in sorted(rows)]


def _quality(report: ReportInput) -> list[tuple[str, float | None, float | None]]:
    """metric, before, after."""
    before, after = _before(report)[1], report.evaluation.metrics
    return [(name, before.get(name), after.get(name)) for name in ("brier", "ece", "nll")]


def _train_counts(report: ReportInput) -> dict[str, int]:
    counts = report.dataset_stats.get("train", {}).get("labels", {})
    return {label: int(counts.get(label, 0)) for label in report.labels}


def _best_trials(report: ReportInput) -> list[Trial]:
    ranked = sorted(report.trials, key=lambda t: (_number(t.value) == "–", -(t.value or 0.0), t.number))
    return ranked[:MOST_TRIALS]


def _commands(report: ReportInput) -> list[tuple[str, str]]:
    ref = shlex.quote(report.version)
    return [
        ("Start an endpoint; it prints its address", f"tenshot start {ref}"),
        ("Ask about a photo (without an endpoint: in this process)", f"tenshot predict {ref} photo.jpg"),
        ("Draw what was found into copies of the photos", f"tenshot predict {ref} photos/*.jpg --save drawn/"),
        ("Measure it on other labeled images", f"tenshot evaluate {ref} PATH"),
        ("Stop the endpoint and its meter", f"tenshot stop {ref}"),
    ]


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _interval(pair: Sequence[float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.2f}–{pair[1]:.2f}"


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"
    return f"{int(value // 60)} min {int(value % 60):02d} s"


def _rounded(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
