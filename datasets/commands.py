"""`tenshot dataset …`: import, show, versions, check, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tenshot.projects import console
from tenshot.projects.clock import iso, now
from tenshot.projects.errors import EmptyDataError
from tenshot.projects.workspace import Workspace

if TYPE_CHECKING:
    from tenshot.datasets.doctor import DatasetCheck
    from tenshot.datasets.ingest import ImportReport, Progress
    from tenshot.projects.jobs import JobContext
    from tenshot.projects.records import DatasetVersion

SHOWN = 20
"""Refused records that are listed for people; the rest is counted."""

dataset = typer.Typer(name="dataset", help="Images and their labels.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The project.", metavar="NAME")]
SplitOption = Annotated[
    Literal["train", "test", "auto"],
    typer.Option(help="Where the images go; auto: as the data says, else to train.", show_default=True),
]


@dataset.command("import")
def import_(
    name: Name,
    path: Annotated[Path, typer.Argument(help="A folder or an annotation file.", metavar="PATH")],
    split: SplitOption = "auto",
    format: Annotated[
        str, typer.Option(help="auto, folders, csv, coco, yolo, voc, manifest or label-studio.", metavar="F")
    ] = "auto",
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, if they are not beside the labels.", metavar="DIR")
    ] = None,
) -> None:
    """Add labeled images to a project; bad ones are refused by name, the rest is imported."""
    workspace = Workspace.current()
    options = {"path": str(path), "split": split, "format": format, "images": str(images) if images else None}
    try:
        report = _import_as_job(workspace, name, options)
    except EmptyDataError as error:
        refused = getattr(error.fields.get("report"), "refused", [])
        if refused and not console.mode.json:
            console.stderr().print(_refused_table(refused))
        raise
    for text in report.notices:
        console.notice(text)
    console.emit(report.to_json(), lambda: _import_view(report))


@dataset.command()
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(help="Number of a dataset version; the newest if left out.")] = None,
) -> None:
    """Images and labels of a dataset version."""
    record = Workspace.current().store.dataset_version(name, version)
    console.emit({"project": name, **_version_json(record)}, lambda: _version_view(name, record))


@dataset.command()
def versions(name: Name) -> None:
    """All dataset versions of a project, newest first."""
    records = Workspace.current().store.dataset_versions(name)[::-1]
    console.emit(
        {"project": name, "versions": [_version_json(record) for record in records]}, lambda: _versions_view(records)
    )


@dataset.command()
def check(
    name: Name,
    version: Annotated[int | None, typer.Option(help="Number of a dataset version; the newest if left out.")] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Leave out what looks at the pictures with a pretrained network.")
    ] = False,
) -> None:
    """Look for what harms a training: leaks, duplicates, rare labels, odd boxes, damaged files, likely label errors,
    images unlike all others."""
    from tenshot.datasets import doctor

    with _bar("checking") as advance:
        found = doctor.check(Workspace.current(), name, number=version, progress=advance, fast=fast)
    console.emit(found.to_json(), lambda: _check_view(found))


@dataset.command()
def export(
    name: Name,
    path: Annotated[Path, typer.Argument(help="A new folder.", metavar="PATH")],
    format: Annotated[str, typer.Option(help="folders, csv, coco, yolo, voc, manifest or label-studio.", metavar="F")],
    split: Annotated[Literal["train", "test"] | None, typer.Option(help="Only this split.")] = None,
    version: Annotated[int | None, typer.Option(help="Number of a dataset version; the newest if left out.")] = None,
) -> None:
    """Write a dataset version as files that other tools read."""
    from tenshot.datasets import export as exports

    count = exports.export(Workspace.current(), name, path, format, split=split, number=version)
    document = {"project": name, "path": str(path), "format": format, "images": count}
    console.emit(document, lambda: _exported_view(count, path, format))


def _import_as_job(workspace: Workspace, name: str, options: dict[str, Any]) -> ImportReport:
    """Run the import as a job of this process, so that others see its progress and can cancel it."""
    from tenshot.datasets.ingest import import_dataset
    from tenshot.projects.jobs import run_job

    reports: list[ImportReport] = []
    failures: list[Exception] = []
    with _bar("importing") as advance:

        def handle(context: JobContext) -> None:
            def report_progress(values: dict[str, Any]) -> None:
                context.progress(values)
                context.check()
                advance(values)

            try:
                reports.append(_run(import_dataset, workspace, name, options, report_progress))
            except Exception as error:
                failures.append(error)
                raise

        workspace.store.project(name)  # a job for a project that does not exist helps nobody
        job = workspace.store.enqueue("import", name, payload=options, at=now())
        run_job(workspace, job.id, ["import"], {"import": handle})
    if failures:
        raise failures[0]
    return reports[0]


def _run(import_dataset: Any, workspace: Workspace, name: str, options: dict[str, Any], on: Progress) -> ImportReport:
    images = Path(options["images"]) if options["images"] else None
    report: ImportReport = import_dataset(
        workspace,
        name,
        Path(options["path"]),
        split=options["split"],
        format=options["format"],
        images=images,
        progress=on,
    )
    return report


class _bar:
    """A progress bar on stderr; nothing with `--json` or where stderr is not a terminal."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        terminal = console.stderr()
        self.bar = Progress(
            *columns, console=terminal, transient=True, disable=console.mode.json or not terminal.is_terminal
        )
        self.bar.start()
        task = self.bar.add_task(self.text, total=None)
        return lambda values: self.bar.update(
            task,
            completed=values["done"],
            total=values.get("total"),
            description=values.get("what", self.text),
        )

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


def _import_view(report: ImportReport) -> list[Any]:
    from rich.text import Text

    made = (
        f"dataset version {report.version}"
        if report.created
        else f"nothing new; still dataset version {report.version}"
    )
    lines: list[Any] = [
        f"{report.project}: {made} with {report.train} train and {report.test} test images",
        f"imported {report.imported}, duplicates {report.duplicates}, refused {len(report.refused)}"
        + (f", boxes clipped {report.clipped_boxes}" if report.clipped_boxes else ""),
        Text(f"labels: {', '.join(report.labels) or 'none'}"),
    ]
    return [*lines, _refused_table(report.refused)] if report.refused else lines


def _exported_view(count: int, path: Path, format: str) -> Any:
    from rich.text import Text

    return Text(f"wrote {count} images to {path} as {format}")


def _refused_table(refused: list[Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    more = len(refused) - SHOWN
    table = Table(title="Refused", title_justify="left", caption=f"… and {more} more" if more > 0 else None)
    for column in ("where", "what is wrong", "what to do"):
        table.add_column(column, overflow="fold")
    for refusal in refused[:SHOWN]:
        where = refusal.file if refusal.line is None else f"{refusal.file}:{refusal.line}"
        short = "/".join(Path(where).parts[-2:])
        table.add_row(Text(short), Text(refusal.message.removeprefix(f"{where}: ")), Text(refusal.hint))
    return table


def _version_json(record: DatasetVersion) -> dict[str, Any]:
    return {
        "version": record.number,
        "parent": record.parent,
        "source": record.source,
        "created": iso(record.created_at),
        "snapshot": record.snapshot_sha256,
        **record.stats,
    }


def _version_view(name: str, record: DatasetVersion) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    stats = {split: record.stats.get(split, {"images": 0, "labels": {}}) for split in ("train", "test")}
    table = Table("label", "train", "test")
    for label in sorted({label for side in stats.values() for label in side["labels"]}):
        table.add_row(Text(label), *(str(stats[split]["labels"].get(label, 0)) for split in ("train", "test")))
    counts = ", ".join(f"{side['images']} {split}" for split, side in stats.items())
    head = f"{name}, dataset version {record.number}: {counts} images"
    return [head, Text(f"from {record.source}, {iso(record.created_at)}"), table]


def _versions_view(records: list[DatasetVersion]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("version", "created", "train", "test", "refused", "from")
    for record in records:
        counts = [str(record.stats.get(split, {}).get("images", 0)) for split in ("train", "test")]
        refused = str(record.stats.get("refused", 0))
        table.add_row(str(record.number), iso(record.created_at), *counts, refused, Text(record.source))
    return table


def _check_view(found: DatasetCheck) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    counts = ", ".join(f"{count} {split}" for split, count in found.images.items())
    head = f"{found.project}, dataset version {found.version}: {counts} images"
    if not found.findings:
        return [head, "nothing found that harms a training"]
    table = Table("severity", "what", "what to do", "for instance")
    for finding in found.findings:
        table.add_row(
            finding.severity, Text(finding.message), Text(finding.advice), Text("\n".join(finding.examples[:3]))
        )
    return [head, table]
