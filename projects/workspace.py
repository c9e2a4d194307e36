"""A workspace: one TENSHOT_HOME with its settings, its store and its folders.

TENSHOT_HOME/
    config.yaml                settings of this workspace, optional
    tenshot.db                 the store, unless store.url says otherwise
    images/ab/abcdef….jpg|png  content-addressed images
    snapshots/<sha256>.jsonl   entries of dataset versions
    models/<project>/<version>/bundle/   what is served
    models/<project>/<version>/study/    the search's journal, out-of-fold scores
    models/<project>/<version>/report.html
    endpoints/<project>@<version>/       logs and usage journals of endpoints
    features/                  cached features of frozen backbones
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects import settings as settings_module
from tenshot.projects.errors import StoreError, UsageError, VersionNotFound
from tenshot.projects.status import TRAINED

if TYPE_CHECKING:
    from tenshot.projects.records import ModelVersion
    from tenshot.projects.settings import Settings
    from tenshot.projects.store import Store

NUMBER = re.compile(r"[0-9]{1,9}")
"""Of a version. What is longer fits no database and is looked up as an alias, which nobody has."""


@dataclass(frozen=True)
class Workspace:
    home: Path
    """Absolute."""

    @classmethod
    def current(cls) -> Workspace:
        """The one that the environment names: TENSHOT_HOME, else `.tenshot` in the working directory."""
        return cls(Path(os.environ.get("TENSHOT_HOME") or ".tenshot").absolute())

    @cached_property
    def settings(self) -> Settings:
        return settings_module.load(self.home)

    @cached_property
    def store(self) -> Store:
        """The open store; its tables are made or migrated on first use."""
        from tenshot.projects.stores.sql import SqlStore

        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"TENSHOT_HOME cannot be made: {error}", hint="set it to a folder you may write") from None
        return SqlStore(self.settings.store.url or "sqlite:///tenshot.db", self.home)

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def snapshots(self) -> Path:
        return self.home / "snapshots"

    @property
    def features(self) -> Path:
        return self.home / "features"

    def version_dir(self, project: str, number: int) -> Path:
        return self.home / "models" / project / str(number)

    def bundle_dir(self, project: str, number: int) -> Path:
        return self.version_dir(project, number) / "bundle"

    def endpoint_dir(self, project: str, number: int) -> Path:
        return self.home / "endpoints" / f"{project}@{number}"

    @property
    def cache(self) -> Path:
        """Pretrained weights and demo data, shared by all workspaces."""
        if self.settings.cache.dir:
            return Path(self.settings.cache.dir).expanduser().absolute()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tenshot"

    @property
    def tracking_uri(self) -> str:
        return self.settings.tracking.uri or f"sqlite:///{self.home.parent / 'mlruns' / 'mlflow.db'}"

    @property
    def tracking_artifacts(self) -> Path:
        if self.settings.tracking.artifacts:
            return Path(self.settings.tracking.artifacts).expanduser().absolute()
        return self.home.parent / "mlruns" / "artifacts"

    def resolve(self, ref: str, *, trained: bool = True) -> ModelVersion:
        """`NAME@3`, `NAME@champion`, or `NAME` for the newest trained version.

        Raises UsageError for a malformed reference, ProjectNotFound, VersionNotFound, and VersionNotFound for a
        version without a bundle unless `trained` is False.
        """
        name, at, rest = ref.partition("@")
        if not name or (at and not rest):
            raise UsageError(f"{ref!r} names no version", hint="write NAME, NAME@2 or NAME@champion")
        if not at:
            return self._newest_trained(name)
        number = int(rest) if NUMBER.fullmatch(rest) else self.store.alias(name, rest)
        version = self.store.version(name, number)
        if trained and version.status not in TRAINED:
            because = version.status_message or "no message"
            raise VersionNotFound(
                f"{version.ref} has no trained model: it is {version.status} ({because})",
                hint=f"see: tenshot versions {name}",
            )
        return version

    def _newest_trained(self, name: str) -> ModelVersion:
        for version in self.store.versions(name):
            if version.status in TRAINED:
                return version
        raise VersionNotFound(f"project {name!r} has no trained version", hint=f"train one: tenshot train {name}")
