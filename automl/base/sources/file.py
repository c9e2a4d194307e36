"""A file that the user has already. It is copied into the cache, so that it may go away afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.automl.base.sources import Fetched
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import FileSource
    from tenshot.projects.settings import ModelSettings


def fetch(source: FileSource, _: Path, settings: ModelSettings) -> Fetched:
    path = Path(source.path).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no file {path}", hint="write the path of a file of weights, absolute or with ~")
    if path.stat().st_size > settings.max_bytes:
        raise WeightsError(
            f"{path} has {path.stat().st_size} bytes; at most {settings.max_bytes} are allowed",
            hint="raise the setting models.max_bytes if that is meant",
        )
    return Fetched(path)
