"""The commands of this room but those of its folders: project, jobs, doctor."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenshot.projects import clock, console
from tenshot.projects.errors import UsageError
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace

if TYPE_CHECKING:
    from tenshot.projects.records import Job

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the project.")]

project = typer.Typer(help="Create, list, show and delete projects.", no_args_is_help=True)
jobs = typer.Typer(help="List and cancel trainings and imports.", no_args_is_help=True)


@project.command("create")
def project_create(
    name: Name,
    task: Annotated[Task, typer.Option(help="What its models shall find in an image.")],
) -> None:
    """Create a project: a task, its images and the versions trained on them."""
    from tenshot.projects import lifecycle, views

    made = lifecycle.create(Workspace.current(), name, task, clock.now())
    console.emit(views.project_document(made), lambda: f"created {made.task} project {made.name}")


@project.command("list")
def project_list() -> None:
    """List the projects."""
    from tenshot.projects import views

    found = Workspace.current().store.projects()
    document = {"projects": [views.project_document(one) for one in found]}
    console.emit(document, lambda: views.project_table(found))


@project.command("show")
def project_show(name: Name) -> None:
    """Show a project with its images and versions."""
    from tenshot.projects import views

    overview = views.overview(Workspace.current(), name)
    console.emit(overview.to_json(), overview.view)


@project.command("delete")
def project_delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a project with its versions and files. Its usage stays in the ledger."""
    from tenshot.projects import lifecycle

    workspace = Workspace.current()
    workspace.store.project(name)
    if not yes:
        _ask(f"Delete project {name} with all its versions?")
    lifecycle.delete(workspace, name, clock.now())
    console.emit({"deleted": name}, lambda: f"deleted project {name}")


def _ask(question: str) -> None:
    if not sys.stdin.isatty() or console.mode.json:
        raise UsageError("this deletes things and there is nobody to ask", hint="say --yes if you mean it")
    if not typer.confirm(question, err=True):
        raise typer.Abort


@jobs.command("list")
def jobs_list(
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this project.")] = None,
) -> None:
    """List trainings and imports, newest first."""
    from tenshot.projects import jobs as library
    from tenshot.projects import views

    workspace = Workspace.current()
    library.reap(workspace, clock.now())
    found = workspace.store.jobs(project=project)
    console.emit({"jobs": [_job_document(job) for job in found]}, lambda: views.job_table(found))


@jobs.command("cancel")
def jobs_cancel(
    job: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**31 - 1, help="Number of the job.")],
) -> None:
    """Cancel a job: at once if it waits, at its next heartbeat if it runs."""
    from tenshot.projects import jobs as library

    found = library.cancel(Workspace.current(), job, clock.now())
    text = "was asked to stop" if found.cancel_requested else f"is {found.status}"
    console.emit(_job_document(found), lambda: f"job {found.id} {text}")


def _job_document(job: Job) -> dict[str, Any]:
    """Without the lock token, which is its holder's secret."""
    document = {key: value for key, value in asdict(job).items() if key != "lock_token"}
    return document | {"created_at": clock.iso(job.created_at), "heartbeat_at": clock.iso(job.heartbeat_at)}


def doctor() -> None:
    """Check what is installed, reachable and writable; say how to mend the rest. Exit status 1 if something fails."""
    from tenshot.projects import doctor as library
    from tenshot.projects import views

    found = library.examine(Workspace.current())
    failed = any(finding.state == "fail" for finding in found)
    document = {"ok": not failed, "checks": [finding.to_json() for finding in found]}
    console.emit(document, lambda: views.finding_table(found))
    if failed:
        raise typer.Exit(1)
