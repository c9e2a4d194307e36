"""Too few images, or too many of one label beside the others."""

from __future__ import annotations

from collections.abc import Iterator

from tenshot.datasets.findings import Finding, Inspection, finding, label_counts
from tenshot.projects.status import Task

FEW_IMAGES = 5
"""A label on fewer training images than this can hardly be learnt, nor validated."""
IMBALANCE = 10.0
"""Images of the commonest label over those of the rarest, from which on the rare ones tend to be ignored."""


def check(found: Inspection) -> Iterator[Finding]:
    counts = {label: splits["train"] for label, splits in label_counts(found.entries).items() if splits["train"]}
    if not counts:
        yield finding("error", "no-training-images", "no training image has a label", "import labeled images", [])
        return
    if found.task is Task.CLASSIFICATION and len(counts) < 2:
        message = f"all training images have the label {next(iter(counts))!r}"
        yield finding("error", "one-label", message, "a classifier needs images of at least two labels", [])
    few = [f"{label}: {count}" for label, count in counts.items() if count < FEW_IMAGES]
    if few:
        message = f"{len(few)} labels have fewer than {FEW_IMAGES} training images"
        yield finding("warning", "few-images", message, "add images of these labels", few)
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] / counts[least] >= IMBALANCE:
        message = f"{most!r} has {counts[most]} training images, {least!r} has {counts[least]}"
        yield finding("warning", "imbalance", message, "add images of the rare labels", [])
    if not any(entry.split == "test" for entry in found.entries):
        message = "there is no test split, so only cross-validated scores will be known"
        yield finding("info", "no-test", message, "import a test set with --split test", [])
