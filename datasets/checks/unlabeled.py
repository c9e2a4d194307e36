"""Images without a label: those that nobody has looked at, and those that show nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tenshot.datasets.findings import Finding, Inspection, finding
from tenshot.projects.status import Task


def check(found: Inspection) -> Iterator[Finding]:
    names = [entry.name for entry in found.entries if not entry.labeled]
    if names:
        message = f"{len(names)} images are not labeled yet and take no part in training"
        yield finding("warning", "unlabeled", message, "label them and import again", names)
    empty = [entry.name for entry in found.entries if entry.labeled and not entry.labels and not entry.boxes]
    if empty and found.task is not Task.CLASSIFICATION:
        message = f"{len(empty)} images have no label and count as showing nothing of interest"
        yield finding("info", "negatives", message, "fine, if nothing was overlooked in them", empty)
