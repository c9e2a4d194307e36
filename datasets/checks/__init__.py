"""Checks of a dataset: one file each. A row names a function `check(found: Inspection) -> Iterable[Finding]`."""

from __future__ import annotations

from tenshot.datasets.findings import Check
from tenshot.projects.registry import Registry

CHECKS: Registry[Check] = Registry(
    "check",
    {
        "unreadable": "tenshot.datasets.checks.unreadable:check",
        "near-duplicates": "tenshot.datasets.checks.near_duplicates:check",
        "amounts": "tenshot.datasets.checks.amounts:check",
        "labels": "tenshot.datasets.checks.labels:check",
        "boxes": "tenshot.datasets.checks.boxes:check",
        "unlabeled": "tenshot.datasets.checks.unlabeled:check",
        "sizes": "tenshot.datasets.checks.sizes:check",
    },
)

SEEING: Registry[Check] = Registry(
    "check",
    {
        "label-errors": "tenshot.automl.data_checks:label_errors",
        "other-domain": "tenshot.automl.data_checks:other_domain",
    },
)
"""Those that look at the pictures with a pretrained network, which lives in another room: loaded by name when they
run. They raise MissingDependencyError or WeightsError where that network is not there."""
