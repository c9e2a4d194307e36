"""What the verbs about versions show: lists, comparisons, reports, aliases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.projects import clock, jobs
from tenshot.projects.clock import iso
from tenshot.projects.errors import EmptyDataError, UsageError, VersionNotFound

if TYPE_CHECKING:
    from rich.table import Table

    from tenshot.automl.evaluation.outcomes import Outcome
    from tenshot.projects.records import ModelVersion
    from tenshot.projects.workspace import Workspace


def versions(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    """Rows of a project's versions, newest first. Raises ProjectNotFound."""
    jobs.reap(workspace, clock.now())
    return [version_row(version) for version in workspace.store.versions(name)]


def version_row(version: ModelVersion) -> dict[str, Any]:
    found = version.details
    primary = found.get("primary")
    return {
        "version": version.number,
        "ref": version.ref,
        "status": str(version.status),
        "message": version.status_message,
        "aliases": list(version.aliases),
        "dataset_version": version.dataset_version,
        "metric": primary,
        "value": found.get("metrics", {}).get(primary),
        "interval": found.get("intervals", {}).get(primary),
        "unproven": primary in found.get("unproven", []),
        "measured_on": found.get("measured_on"),
        "seconds": found.get("seconds"),
        "created": iso(version.created_at),
    }


def table(rows: list[dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    shown = Table("version", "status", "result", "measured on", "trained")
    for row in rows:
        name = " ".join([f"[bold]{row['version']}[/]", *row["aliases"]])
        status = row["status"] + (f"\n[dim]{escape(row['message'])}[/]" if row["message"] else "")
        took = f"{row['seconds']:.0f} s\n" if row["seconds"] else ""
        shown.add_row(name, status, _result(row), row["measured_on"] or "–", f"{took}[dim]{row['created']}[/]")
    return shown


def _result(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "–"
    unproven = " [yellow]unproven[/]" if row["unproven"] else ""
    return f"{row['metric']} {row['value']:.3f}\n[dim]{interval_text(row['interval'])}[/]{unproven}"


def interval_text(interval: list[float] | None) -> str:
    return f"{interval[0]:.3f} – {interval[1]:.3f}" if interval else "–"


def report(workspace: Workspace, ref: str) -> Path:
    """Where the report of a version is. Raises VersionNotFound, EmptyDataError if none was written."""
    version = workspace.resolve(ref)
    path = workspace.version_dir(version.project, version.number) / "report.html"
    if not path.is_file():
        raise EmptyDataError(
            f"{version.ref} has no report: nothing could be measured",
            hint="import a test split or more images, then train again",
        )
    return path


def set_alias(workspace: Workspace, ref: str, alias: str) -> ModelVersion:
    """Point an alias at a version, here and in MLflow. Raises UsageError, VersionNotFound, StoreError."""
    from tenshot.automl import tracking
    from tenshot.projects.lifecycle import NAME

    if alias.isdecimal() or not NAME.fullmatch(alias):
        raise UsageError(f"{alias!r} cannot be an alias", hint="use letters, digits, _ - and ., and not a number alone")
    version = workspace.resolve(ref)
    tracking.set_alias(workspace, version.project, alias, version.details.get("run_id"))
    workspace.store.set_alias(version.project, alias, version.number)
    return version


def compare(workspace: Workspace, first: str, second: str) -> dict[str, Any]:
    """Both versions' metrics, and the difference on the images that both were measured on.

    The test split of both if it is the same images; else the out-of-fold scores. Raises EmptyDataError if they share
    no image.
    """
    from tenshot.automl.evaluation.evaluate import compare as difference

    one, two = workspace.resolve(first), workspace.resolve(second)
    a, b = _outcomes(workspace, one), _outcomes(workspace, two)
    for kind in ("test", "oof"):
        if kind in a and kind in b and set(a[kind].images) & set(b[kind].images):
            found = difference(a[kind], b[kind], limits_a=one.details["thresholds"], limits_b=two.details["thresholds"])
            split = "test split" if kind == "test" else "out-of-fold scores"
            return {"first": version_row(one), "second": version_row(two), "measured_on": split, **found}
    raise EmptyDataError(
        f"{one.ref} and {two.ref} were measured on different images",
        hint="measure both on the same set: tenshot evaluate NAME@V PATH",
    )


def _outcomes(workspace: Workspace, version: ModelVersion) -> dict[str, Outcome]:
    from tenshot.automl.evaluation import outcomes

    study = workspace.version_dir(version.project, version.number) / "study"
    found = {kind: study / f"{kind}.npz" for kind in ("test", "oof")}
    if not any(path.is_file() for path in found.values()):
        raise VersionNotFound(f"{version.ref} has no stored outcomes", hint="train it again")
    return {kind: outcomes.load(path) for kind, path in found.items() if path.is_file()}


def comparison_view(found: dict[str, Any]) -> list[Any]:
    verdict = {
        "a": f"{found['first']['ref']} is better",
        "b": f"{found['second']['ref']} is better",
        None: "the difference is not proven",
    }[found["better"]]
    sentence = (
        f"{found['metric']} on {found['images']} images ({found['measured_on']}): {found['a']:.3f} against "
        f"{found['b']:.3f}, difference {found['difference']:+.3f} ({interval_text(found['interval'])}): {verdict}"
    )
    return [table([found["first"], found["second"]]), sentence]


def training_view(document: dict[str, Any]) -> list[Any]:
    """What `tenshot train` shows at its end."""
    from rich.markup import escape
    from rich.table import Table

    ref = f"{document['project']}@{document['version']}"
    shown = Table("metric", "value", "95 % interval", "", title=f"{ref}, measured on {document['measured_on']}")
    for name, value in document["metrics"].items():
        unproven = "[yellow]unproven[/]" if name in document["unproven"] else ""
        mark = "[bold]" if name == document["primary"] else ""
        shown.add_row(f"{mark}{name}", f"{value:.3f}", interval_text(document["intervals"].get(name)), unproven)
    limits = Table("label", "threshold")
    for name, value in document["thresholds"].items():
        limits.add_row(escape(name), f"{100 * value:.1f}")
    done = f"{document['trials']} trials in {document['seconds']:.0f} s · next: tenshot report {ref} --open · "
    return [shown, limits, *(f"[yellow]![/] {escape(w)}" for w in document["warnings"]), done + f"tenshot start {ref}"]
