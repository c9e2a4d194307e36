"""What `tenshot doctor` asks about the pretrained base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.automl.base import fetch
from tenshot.automl.base.catalogue import catalogue

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace


def missing(workspace: Workspace) -> list[str]:
    """Names of base models that the cache lacks."""
    return [name for name, row in catalogue().items() if not (fetch.models_dir(workspace) / row.file_name).is_file()]
