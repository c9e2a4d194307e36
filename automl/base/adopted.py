"""Bases beyond the catalogue: weights that the user named with `--base`, fetched once and known by their sha256 since.

What a name means is settled when it is adopted: a row like those of the catalogue is written beside the cached files
(`models/adopted/<name>.json`), and every later training, resumed or new, takes the same bytes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tenshot.automl.base import catalogue, fetch
from tenshot.automl.base.catalogue import BaseModelRow, FileSource
from tenshot.automl.base.sources import SOURCES, Fetched
from tenshot.automl.bundle import sha256_of
from tenshot.automl.libraries import LIBRARIES
from tenshot.projects.errors import UnknownNameError, UsageError, WeightsError
from tenshot.projects.status import Task

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import Source
    from tenshot.automl.libraries import Offer
    from tenshot.projects.settings import ModelSettings
    from tenshot.projects.workspace import Workspace

NON_COMMERCIAL = ("-NC-", "noncommercial")
ROLES = {Task.CLASSIFICATION: "backbone", Task.MULTILABEL: "backbone", Task.DETECTION: "detector"}


def adopt(workspace: Workspace, text: str, task: Task, notice: Callable[[str], None] = lambda _: None) -> BaseModelRow:
    """The row for what the user wrote after `--base`, its weights fetched and looked at.

    text: a row of the catalogue; `LIBRARY:NAME` or NAME of timm, torchvision or Ultralytics; with `=PATH`, these
    weights out of a file. Raises UnknownNameError with the near names, UsageError for a model of another task,
    WeightsError with all that was tried; nothing is kept then.
    """
    name, _, path = text.partition("=")
    role = ROLES[task]
    if name in catalogue.catalogue() and not path:
        row = catalogue.row(name)
        if row.role != role:
            raise UsageError(f"{name} is a {row.role}; a {task} project needs a {role}", hint="tenshot models list")
        fetch.pull(workspace, row)
        return row
    library, model = _found(name, role, task)
    settings = workspace.settings.models
    offer = LIBRARIES.get(library).offer(model, settings)
    known = _read(_record(workspace, f"{library}:{offer.model}"))
    if known and not path:
        fetch.pull(workspace, known)
        return known
    sources: tuple[Source, ...] = offer.sources
    if path:
        sources = (FileSource(kind="file", path=str(Path(path).expanduser().absolute())),)
    notice(f"fetching {library}:{offer.model}, licence {offer.licence}")
    return _fetched(workspace, library, offer, sources, settings, own_file=bool(path))


def ensure(workspace: Workspace, name: str) -> Path:
    """The file of a row of the catalogue or of an adopted base, fetched again if the cache lacks it."""
    return fetch.pull(workspace, row(workspace, name))


def row(workspace: Workspace, name: str) -> BaseModelRow:
    """Of the catalogue or adopted. Raises UnknownNameError; WeightsError for a base that was adopted elsewhere."""
    if ":" not in name:
        return catalogue.row(name)
    found = _read(_record(workspace, name))
    if found is None:
        raise WeightsError(f"the weights of {name} are not here", hint=f"fetch them: tenshot models pull {name}")
    return found


def rows(workspace: Workspace) -> list[BaseModelRow]:
    """All that were adopted, by name."""
    found = (_read(path) for path in sorted(_folder(workspace).glob("*.json")))
    return [row for row in found if row]


def warning(model: BaseModelRow) -> str | None:
    """What the licence of a base should make the user think of."""
    if model.licence == "NOASSERTION":
        return f"the licence of {model.name} is not known; look at where it was published before you use the model"
    if any(word in model.licence for word in NON_COMMERCIAL):
        return f"{model.name} is under {model.licence}, which does not allow commercial use; so is the trained model"
    return None


# Names ----------------------------------------------------------------------------------------------------------------


def _found(name: str, role: str, task: Task) -> tuple[str, str]:
    """Library and name in it. Raises UnknownNameError, UsageError."""
    library, _, model = name.rpartition(":")
    if library:
        found = LIBRARIES.get(library)
        if found.role != role:
            raise UsageError(
                f"{name} is a {found.role}; a {task} project needs a {role}", hint=f"take one of {_libraries(role)}"
            )
        if model not in (names := found.names()):
            raise UnknownNameError(f"model of {library}", model, names)
        return library, model
    every: list[str] = [row.name for row in catalogue.catalogue().values() if row.role == role]
    for candidate in _of_role(role):
        names = LIBRARIES.get(candidate).names()
        if name in names:
            return candidate, name
        every += names
    raise UnknownNameError("base", name, every)


def _of_role(role: str) -> Iterator[str]:
    return (name for name in LIBRARIES if LIBRARIES.get(name).role == role)


def _libraries(role: str) -> str:
    return " or ".join(_of_role(role))


# Fetching -------------------------------------------------------------------------------------------------------------


def _fetched(
    workspace: Workspace, library: str, offer: Offer, sources: tuple[Source, ...], settings: ModelSettings, *,
    own_file: bool,
) -> BaseModelRow:  # fmt: skip
    name = f"{library}:{offer.model}"
    with tempfile.TemporaryDirectory(prefix="tenshot-fetch-") as scratch:
        expected = "" if own_file else offer.sha256
        source, found = _first_of(name, sources, Path(scratch), settings, expected)
        # Under its own name, since libraries look at the ending; a file of the user's stays where it is.
        path = found.path if own_file or source.kind == "file" else found.path.rename(Path(scratch) / source.file_name)
        LIBRARIES.get(library).load(offer.model, path)
        if found.revision and source.kind == "hub":
            source = source.model_copy(update={"revision": found.revision})
        made = BaseModelRow(
            name=name, role=LIBRARIES.get(library).role, title=offer.title, source=source, sha256=sha256_of(path),
            licence=offer.licence, input=offer.input, measured=None,
        )  # fmt: skip
        fetch.place(path, fetch.models_dir(workspace) / made.file_name)
        record = Path(scratch) / "row.json"
        record.write_text(made.model_dump_json(indent=2) + "\n", "utf-8")
        fetch.place(record, _record(workspace, name))
    return made


def _first_of(
    name: str, sources: tuple[Source, ...], scratch: Path, settings: ModelSettings, expected: str
) -> tuple[Source, Fetched]:
    """The first source that has the file. Raises WeightsError with what each of them said."""
    tried: list[WeightsError] = []
    for number, source in enumerate(sources):
        directory = scratch / str(number)
        directory.mkdir()
        try:
            found = SOURCES.get(source.kind)(source, directory, settings)
            for told in (found.sha256, expected):
                if told:
                    fetch.require_sha256(found.path, told, source.text)
            return source, found
        except WeightsError as error:
            tried.append(error)
    raise WeightsError(
        f"{name} cannot be fetched: {'; '.join(error.message for error in tried)}",
        hint=next((error.hint for error in tried if error.fields.get("status", 0) is None), tried[0].hint),
    )


# Records --------------------------------------------------------------------------------------------------------------


def _folder(workspace: Workspace) -> Path:
    return fetch.models_dir(workspace) / "adopted"


def _record(workspace: Workspace, name: str) -> Path:
    return _folder(workspace) / f"{name.replace(':', '-')}.json"


def _read(path: Path) -> BaseModelRow | None:
    """None if it is absent or damaged: then it is fetched anew."""
    try:
        return BaseModelRow.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
