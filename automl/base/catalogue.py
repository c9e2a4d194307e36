"""The catalogue of pretrained weights, read strictly from `configs/base_models.yaml`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field

from tenshot.projects.errors import UnknownNameError


class _Source(BaseModel):
    """`title` says where in a few words, `text` says where exactly, `file_name` is what the file is called there."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PipSource(_Source):
    """A member of a wheel, fetched by the `pip` client without installing anything."""

    kind: Literal["pip"]
    package: str
    version: str
    member: str

    @property
    def title(self) -> str:
        return f"pip {self.package} {self.version}"

    @property
    def text(self) -> str:
        return f"{self.title}: {self.member}"

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.member).name


class NpmSource(_Source):
    """A member of an npm package, fetched by the `npm` client without installing anything."""

    kind: Literal["npm"]
    package: str
    version: str
    member: str
    """Below the package's own folder, as the package's documentation names it."""

    @property
    def title(self) -> str:
        return f"npm {self.package} {self.version}"

    @property
    def text(self) -> str:
        return f"{self.title}: {self.member}"

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.member).name


class UrlSource(_Source):
    """A file behind an address."""

    kind: Literal["url"]
    url: str = Field(pattern="^https?://[^/]+/.+")

    @property
    def title(self) -> str:
        return f"url {self.file_name}"

    @property
    def text(self) -> str:
        return f"url {public(self.url)}"

    @property
    def file_name(self) -> str:
        return PurePosixPath(urlsplit(self.url).path).name


class HubSource(_Source):
    """A file of a repository on a hub of the Hugging Face kind."""

    kind: Literal["hub"]
    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    file: str
    revision: str = "main"

    @property
    def title(self) -> str:
        return f"hub {self.repository}"

    @property
    def text(self) -> str:
        return f"hub {self.repository}@{self.revision}: {self.file}"

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.file).name


class FileSource(_Source):
    """A file on this machine."""

    kind: Literal["file"]
    path: str
    """Absolute, or below the home of the user (`~/…`)."""

    @property
    def title(self) -> str:
        return f"file {self.file_name}"

    @property
    def text(self) -> str:
        return self.title  # the folders of a machine are nobody else's business

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.path).name


Source = Annotated[PipSource | NpmSource | UrlSource | HubSource | FileSource, Field(discriminator="kind")]


def public(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class BaseModelRow(BaseModel):
    """One model of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: str
    title: str
    source: Source
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    licence: str
    input: str
    measured: str | None

    @property
    def file_name(self) -> str:
        """Name in the cache: starts with the hash, so that a changed row never meets an old file."""
        return f"{self.sha256[:12]}-{self.source.file_name}"


@cache
def catalogue() -> dict[str, BaseModelRow]:
    """Rows by name, in the file's order."""
    text = (files("tenshot.configs") / "base_models.yaml").read_text("utf-8")
    return {name: BaseModelRow.model_validate({"name": name, **row}) for name, row in yaml.safe_load(text).items()}


def row(name: str) -> BaseModelRow:
    """Raises UnknownNameError with the near names."""
    rows = catalogue()
    if name not in rows:
        raise UnknownNameError("base model", name, rows)
    return rows[name]


def select(names: list[str]) -> list[BaseModelRow]:
    """Rows whose name or role is among `names`; all of them for an empty list. Raises UnknownNameError."""
    rows = catalogue()
    known = set(rows) | {r.role for r in rows.values()}
    for name in names:
        if name not in known:
            raise UnknownNameError("role or base model", name, known)
    return [r for r in rows.values() if not names or r.name in names or r.role in names]
