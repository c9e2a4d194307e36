"""What in a dataset harms a training, with what to do about it. The checks are rows of `datasets/checks`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenshot.datasets import duplicates, snapshots
from tenshot.datasets.checks import CHECKS, SEEING
from tenshot.datasets.duplicates import near_duplicate_groups
from tenshot.datasets.findings import Finding, Inspection, finding, label_counts
from tenshot.projects import extras
from tenshot.projects.errors import MissingDependencyError, WeightsError

if TYPE_CHECKING:
    from tenshot.datasets.ingest import Progress
    from tenshot.projects.workspace import Workspace

__all__ = ["DatasetCheck", "Finding", "check", "near_duplicate_groups"]


@dataclass
class DatasetCheck:
    project: str
    version: int
    images: dict[str, int]
    """Per split."""
    labels: dict[str, dict[str, int]]
    """Label → split → images that have it (in boxes or as a whole)."""
    findings: list[Finding]
    """Worst first."""

    @property
    def ok(self) -> bool:
        """Nothing found that is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "version": self.version,
            "ok": self.ok,
            "images": self.images,
            "labels": self.labels,
            "findings": [finding.to_json() for finding in self.findings],
        }


def check(
    workspace: Workspace,
    project: str,
    *,
    number: int | None = None,
    progress: Progress | None = None,
    fast: bool = False,
) -> DatasetCheck:
    """Look through a dataset version (the newest, if None). Raises ProjectNotFound, DatasetNotFound.

    fast: leave out what looks at the pictures with a pretrained network.
    """
    task = workspace.store.project(project).task
    version = workspace.store.dataset_version(project, number)
    entries = list(snapshots.entries(workspace, version))
    tell = progress or (lambda values: None)
    prints, broken = duplicates.fingerprints(workspace, (entry.image for entry in entries), tell)
    seen = Inspection(workspace, task, entries, prints, broken, tell)
    findings = [one for name in CHECKS for one in CHECKS.get(name)(seen)]
    if not fast:
        findings += _seeing(seen)
    order = ("error", "warning", "info")
    return DatasetCheck(
        project,
        version.number,
        {split: sum(entry.split == split for entry in entries) for split in ("train", "test")},
        label_counts(entries),
        sorted(findings, key=lambda one: order.index(one.severity)),
    )


def _seeing(seen: Inspection) -> Iterator[Finding]:
    """What the checks find that need a network, or once what is missing for them."""
    try:
        extras.require("train")
        for name in SEEING:
            yield from SEEING.get(name)(seen)
    except (MissingDependencyError, WeightsError) as error:
        message = f"label errors and images of another kind were not looked for: {error.message}"
        yield finding("info", "left-out", message, error.hint, [])
