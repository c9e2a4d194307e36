"""The verb keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenshot.projects import clock, console
from tenshot.projects.workspace import Workspace

if TYPE_CHECKING:
    from tenshot.projects.records import AccessKey

keys = typer.Typer(help="Create, list and revoke access keys.", no_args_is_help=True)


@keys.command("create")
def create_key(
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="What it may do: admin, labeler, app (predict and read) or reader.")
    ],
    project: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only in this project; can be given several times.")
    ] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="Whose it is, for people.")] = "",
) -> None:
    """Create an access key; its secret is shown once and never again."""
    from tenshot.projects import keys as library

    workspace = Workspace.current()
    key, secret = library.create(workspace, library.role_of(role), at=clock.now(), projects=project or (), note=note)
    console.emit(
        {**_document(key), "secret": secret},
        lambda: f"access key id  {key.id}\nsecret         {secret}\n{_scope(key)}",
    )
    console.notice("write the secret down now: it cannot be shown again")


@keys.command("list")
def list_keys() -> None:
    """List the access keys, without their secrets."""
    found = Workspace.current().store.access_keys()
    console.emit({"keys": [_document(key) for key in found]}, lambda: _table(found))


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `tenshot keys list` shows it.")]) -> None:
    """Revoke an access key for good; running endpoints refuse it seconds later."""
    from tenshot.projects import keys as library

    workspace = Workspace.current()
    key = library.revoke(workspace, key_id, clock.now())
    beat_s = workspace.settings.serving.beat_s
    console.emit(_document(key), lambda: f"{key.id} is revoked; endpoints refuse it within {beat_s:g} s")


def _document(key: AccessKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "role": key.role,
        "projects": list(key.projects),
        "note": key.note,
        "created_at": clock.iso(key.created_at),
        "revoked_at": clock.iso(key.revoked_at),
    }


def _scope(key: AccessKey) -> str:
    return f"role {key.role}, {'projects ' + ', '.join(key.projects) if key.projects else 'every project'}"


def _table(found: list[AccessKey]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from tenshot.projects.views import minute_text

    if not found:
        return "no access keys; make one: tenshot keys create --role app"
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("id", "role", "projects", "created (UTC)", "revoked (UTC)", "note"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    for key in found:
        where = ", ".join(key.projects) or "every"
        times = minute_text(key.created_at), minute_text(key.revoked_at)
        table.add_row(key.id, key.role, Text(where), *times, Text(key.note))
    return table
