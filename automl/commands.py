"""The verbs of this room: parse, call one function, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tenshot.projects import console
from tenshot.projects.errors import UsageError
from tenshot.projects.workspace import Workspace

Ref = Annotated[str, typer.Argument(metavar="NAME@V", help="NAME@2, NAME@champion, or NAME for the newest.")]

models = typer.Typer(no_args_is_help=True, help="The pretrained base: list, fetch and verify its weights.")


def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Project to train.")],
    budget: Annotated[str | None, typer.Option(help="Wall-clock time, for instance 90s, 5m or 1h.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Most trials of the search.")] = None,
    seed: Annotated[
        int, typer.Option(help="One seed gives one result where --trials, not the budget, ends the search.")
    ] = 0,
    min_precision: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Choose thresholds that reach this precision, where possible.")
    ] = 0.0,
    min_recall: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Choose thresholds that reach this recall, where possible.")
    ] = 0.0,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=PATH]",
            help="Pretrained weights to grow from: a name of `tenshot models list`, timm, torchvision or Ultralytics; "
            "with =PATH out of a file.",
        ),
    ] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A search space of your own, which narrows the product's.")
    ] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Only queue it, for `tenshot worker` processes to work off.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the last training that did not finish, with the options that it began with.",
        ),
    ] = False,
) -> None:
    """Train a new version of a project: search, evaluate, register."""
    from tenshot.automl.training import launch, progress
    from tenshot.automl.training.options import Options
    from tenshot.projects.durations import parse_duration

    if resume and (queue or space or base):
        raise UsageError("a training goes on here, with the options that it began with", hint="give --resume alone")
    workspace = Workspace.current()
    budget_s = parse_duration(budget) if budget else workspace.settings.training.budget_s
    options = Options(budget_s, trials, seed, base, min_precision=min_precision, min_recall=min_recall)
    if queue:
        queued = launch.queued_document(launch.enqueue(workspace, name, options, space, console.notice))
        console.emit(queued, lambda: f"queued {name}@{queued['version']} as job {queued['job']}")
        return
    with progress.bar(budget_s) as show:
        version = launch.launch(
            workspace, name, options, resume=resume, space_file=space, show=show, notice=console.notice
        )
    document = launch.document(version)
    console.emit(document, lambda: _training_view(document))


def worker(
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Only trainings of this project.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End when there is nothing to do.")] = False,
) -> None:
    """Work off queued trainings, and take trials of those that other processes lead, until Ctrl-C."""
    from tenshot.automl.training import worker as library

    done = library.work(Workspace.current(), project=project, once=once, notice=console.notice)
    document = done.to_json()
    console.emit(document, lambda: f"led {len(done.trainings)} trainings, finished {done.trials} trials of others")


def versions(name: Annotated[str, typer.Argument(metavar="NAME", help="Project.")]) -> None:
    """List the model versions of a project, newest first."""
    from tenshot.automl import listing

    rows = listing.versions(Workspace.current(), name)
    console.emit({"versions": rows}, lambda: listing.table(rows))


def report(ref: Ref, open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False) -> None:
    """Say where the HTML report of a version is, or open it."""
    from tenshot.automl import listing

    path = listing.report(Workspace.current(), ref)
    if open_:
        typer.launch(path.as_uri())
    console.emit({"path": str(path)}, lambda: str(path))


def compare(
    first: Annotated[str, typer.Argument(metavar="NAME@V1", help="One version.")],
    second: Annotated[str, typer.Argument(metavar="NAME@V2", help="The other version.")],
) -> None:
    """Compare two versions on the images that both were measured on."""
    from tenshot.automl import listing

    found = listing.compare(Workspace.current(), first, second)
    console.emit(found, lambda: listing.comparison_view(found))


def alias(
    ref: Ref, alias_name: Annotated[str, typer.Argument(metavar="ALIAS", help="Name, for instance champion.")]
) -> None:
    """Point an alias such as champion at a version."""
    from tenshot.automl import listing

    version = listing.set_alias(Workspace.current(), ref, alias_name)
    document = {"project": version.project, "version": version.number, "alias": alias_name}
    console.emit(document, lambda: f"{version.project}@{alias_name} is now {version.ref}")


def evaluate(
    ref: Ref,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Labeled images in any format that can be imported.")],
    format_: Annotated[str, typer.Option("--format", help="Format of PATH; auto looks at it.")] = "auto",
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where the format only names them.")] = None,
) -> None:
    """Measure a version on any labeled set, without importing it."""
    from tenshot.automl import assess

    found = assess.assess(Workspace.current(), ref, path, format_=format_, images=images)
    console.emit(found, lambda: assess.view(found))


@models.command("list")
def models_list() -> None:
    """List the pretrained weights, their licences and whether they are here."""
    from tenshot.automl.base import listing

    rows = listing.rows(Workspace.current())
    console.emit({"models": rows}, lambda: listing.table(rows))


@models.command("pull")
def models_pull(
    roles: Annotated[list[str] | None, typer.Argument(metavar="ROLE", help="Roles or names; all if left out.")] = None,
) -> None:
    """Fetch pretrained weights into the cache, checked by sha256."""
    from tenshot.automl.base import listing

    rows = listing.pull(Workspace.current(), roles or [], console.notice)
    console.emit({"models": rows}, lambda: listing.table(rows))


@models.command("verify")
def models_verify() -> None:
    """Compare the sha256 of every cached file with the catalogue."""
    from tenshot.automl.base import listing

    rows = listing.verify(Workspace.current())
    console.emit({"models": rows}, lambda: listing.table(rows))
    if any(row["state"] != "ok" for row in rows):
        raise typer.Exit(1)


def _training_view(document: dict[str, Any]) -> list[Any]:
    from tenshot.automl import listing

    return listing.training_view(document)
