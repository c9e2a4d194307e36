"""How this room's records look as JSON documents and as Rich tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from tenshot.projects.clock import iso
from tenshot.projects.errors import NotFoundError

if TYPE_CHECKING:
    from tenshot.projects.doctor import Finding
    from tenshot.projects.records import DatasetVersion, Job, ModelVersion, Project
    from tenshot.projects.workspace import Workspace

STATES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def minute_text(at_s: float | None) -> str:
    """`2026-11-23 04:15`, UTC, for tables; empty for None."""
    return (iso(at_s) or "")[:16].replace("T", " ")


def project_document(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "task": project.task,
        "status": project.status,
        "created_at": iso(project.created_at),
    }


def version_document(version: ModelVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        "ref": version.ref,
        "status": version.status,
        "message": version.status_message,
        "dataset_version": version.dataset_version,
        "created_at": iso(version.created_at),
        "trained_at": iso(version.trained_at),
        "aliases": list(version.aliases),
        "details": version.details,
    }


@dataclass(frozen=True)
class Overview:
    """A project with what belongs to it."""

    project: Project
    dataset: DatasetVersion | None
    versions: list[ModelVersion]

    def to_json(self) -> dict[str, Any]:
        dataset = self.dataset and {"version": self.dataset.number, "stats": self.dataset.stats}
        versions = [version_document(version) for version in self.versions]
        return project_document(self.project) | {"dataset": dataset, "versions": versions}

    def view(self) -> list[Any]:
        name = self.project.name
        head = [Text.assemble((name, "bold"), f"  {self.project.task}, created {iso(self.project.created_at)}")]
        if self.dataset is None:
            return [*head, f"no images yet: tenshot dataset import {name} FOLDER"]
        head.append(Text(f"dataset version {self.dataset.number}: {_counts(self.dataset.stats)}"))
        if not self.versions:
            return [*head, f"no versions yet: tenshot train {name}"]
        return [*head, _version_table(self.versions)]


def overview(workspace: Workspace, name: str) -> Overview:
    """Raises ProjectNotFound."""
    store = workspace.store
    project = store.project(name)
    try:
        dataset = store.dataset_version(name)
    except NotFoundError:
        dataset = None
    return Overview(project, dataset, store.versions(name))


def _counts(stats: dict[str, Any]) -> str:
    splits = [f"{stats[split].get('images', 0)} {split}" for split in ("train", "test") if stats.get(split)]
    return f"{', '.join(splits)} images" if splits else "no images"


def _version_table(versions: Sequence[ModelVersion]) -> Table:
    table = _table("version", "status", "aliases", "dataset", "trained", "message")
    for version in versions:
        aliases, trained = ", ".join(version.aliases), iso(version.trained_at) or ""
        table.add_row(
            version.ref, version.status, aliases, str(version.dataset_version), trained, Text(version.status_message)
        )
    return table


def project_table(projects: Sequence[Project]) -> Any:
    if not projects:
        return "no projects yet: tenshot project create NAME --task classification|multilabel|detection"
    table = _table("project", "task", "status", "created")
    for project in projects:
        table.add_row(project.name, project.task, project.status, iso(project.created_at))
    return table


def job_table(jobs: Sequence[Job]) -> Any:
    if not jobs:
        return "no jobs"
    table = _table("job", "kind", "project", "status", "created", "message")
    for job in jobs:
        ref = job.project if job.version is None else f"{job.project}@{job.version}"
        table.add_row(str(job.id), job.kind, ref, job.status, iso(job.created_at), Text(job.message))
    return table


def finding_table(findings: Sequence[Finding]) -> list[Any]:
    table = _table("check", "", "found", "what to do")
    for finding in findings:
        state = Text(finding.state, STATES[finding.state])
        table.add_row(finding.name, state, Text(finding.found), Text(finding.way_out))
    counted = Counter(finding.state for finding in findings)
    return [table, f"{counted['ok']} ok, {counted['warn']} to look at, {counted['fail']} failed"]


def _table(*columns: str, right: frozenset[str] = frozenset()) -> Table:
    table = Table(header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table
