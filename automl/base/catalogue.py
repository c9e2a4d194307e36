"""The catalogue of pretrained weights, read strictly from `configs/base_models.yaml`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

import yaml
from pydantic import BaseModel, ConfigDict, Field

from tenshot.projects.errors import UnknownNameError


class PipSource(BaseModel):
    """A member of a wheel, fetched by the `pip` client without installing anything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(pattern="^pip$")
    package: str
    version: str
    member: str

    @property
    def text(self) -> str:
        return f"pip {self.package} {self.version}: {self.member}"


class BaseModelRow(BaseModel):
    """One model of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: str
    title: str
    source: PipSource
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    licence: str
    input: str
    measured: str | None

    @property
    def file_name(self) -> str:
        """Name in the cache: starts with the hash, so that a changed row never meets an old file."""
        return f"{self.sha256[:12]}-{PurePosixPath(self.source.member).name}"


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
