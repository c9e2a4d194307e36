"""`tenshot evaluate`: a version on any labeled set, without importing it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.automl.outcome import Labeled, observe
from tenshot.automl.predictor import Predictor
from tenshot.datasets.labeled import read_labeled
from tenshot.projects.errors import DataError, EmptyDataError
from tenshot.projects.status import Task

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

MOST_REFUSED = 20


def assess(workspace: Workspace, ref: str, path: Path, *, format_: str, images: Path | None) -> dict[str, Any]:
    """`{"metrics", "intervals", "labels", …}`. Bad records are counted and left out.

    Raises VersionNotFound, BundleError, FormatError, EmptyDataError.
    """
    from tenshot.automl.evaluation.evaluate import evaluate

    version = workspace.resolve(ref)
    predictor = Predictor.load(workspace.bundle_dir(version.project, version.number))
    reading = _Reading(workspace, predictor, path, format_, images)
    outcome = observe(predictor, reading)
    if not len(outcome):
        raise EmptyDataError(
            f"{path} holds no image that {version.ref} can be measured on ({len(reading.refused)} refused)",
            hint=str(reading.refused[0]) if reading.refused else "its labels must be among the version's",
        )
    found = evaluate(outcome, predictor.manifest.thresholds)
    shown = found.to_json()
    return {
        "version": version.ref,
        "images": found.images,
        "metrics": found.metrics,
        "intervals": shown["intervals"],
        "labels": shown["labels"],
        "primary": found.primary,
        "confusion": shown["confusion"],
        "unproven": found.unproven,
        "refused": [error.document()["error"] for error in reading.refused[:MOST_REFUSED]],
        "refused_count": len(reading.refused),
        "unknown_labels": sorted(reading.unknown),
    }


class _Reading:
    """Decoded images one after the other, keeping account of what was left out."""

    def __init__(
        self, workspace: Workspace, predictor: Predictor, path: Path, format_: str, images: Path | None
    ) -> None:
        self.source = read_labeled(
            path, predictor.manifest.task, format_, images, max_megapixels=workspace.settings.images.max_megapixels
        )
        self.manifest = predictor.manifest
        self.refused: list[DataError] = []
        self.unknown: set[str] = set()

    def __iter__(self) -> Iterator[Labeled]:
        for item in self.source:
            if isinstance(item, DataError):
                self.refused.append(item)
                continue
            names = {*item.labels, *(box.label for box in item.boxes)}
            self.unknown |= names - set(self.manifest.labels)
            if self.manifest.task is Task.CLASSIFICATION and not names & set(self.manifest.labels):
                continue
            try:
                yield item.name, item.pixels(), item.labels, item.boxes
            except DataError as error:
                self.refused.append(error)


def view(found: dict[str, Any]) -> list[Any]:
    from rich.markup import escape
    from rich.table import Table

    from tenshot.automl.listing import interval_text

    shown = Table("metric", "value", "95 % interval", "", title=f"{found['version']} on {found['images']} images")
    for name, value in found["metrics"].items():
        mark = "[yellow]unproven[/]" if name in found["unproven"] else ""
        shown.add_row(name, f"{value:.3f}", interval_text(found["intervals"].get(name)), mark)
    note = "[yellow]?[/] unproven: the 95 % interval is wider than 0.30"
    labels = Table("label", "images", "threshold", "precision", "recall", "F1", "AP", caption=note)
    for row in found["labels"]:
        numbers = [_number(row, key) for key in ("precision", "recall", "f1", "ap50" if "ap50" in row else "ap")]
        labels.add_row(escape(row["label"]), str(row["images"]), f"{100 * row['threshold']:.1f}", *numbers)
    notes = [f"[yellow]![/] {found['refused_count']} records were refused"] if found["refused_count"] else []
    if found["unknown_labels"]:
        unknown = escape(", ".join(found["unknown_labels"]))
        notes.append(f"[yellow]![/] labels that the version does not know: {unknown}")
    return [shown, labels, *notes]


def _number(row: dict[str, Any], name: str) -> str:
    from tenshot.automl.evaluation.intervals import is_unproven

    if row.get(name) is None:
        return "–"
    interval = row.get(f"{name}_interval")
    return f"{row[name]:.3f}" + (" [yellow]?[/]" if interval and is_unproven(interval) else "")
