"""What `tenshot doctor` asks about the pretrained base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.automl.base import fetch
from tenshot.automl.base.catalogue import catalogue
from tenshot.projects.doctor import Finding

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace


def cached_models(workspace: Workspace) -> Finding:
    """Which base models the cache lacks; their bytes are compared by `tenshot models verify`."""
    rows = catalogue()
    missing = [name for name, row in rows.items() if not (fetch.models_dir(workspace) / row.file_name).is_file()]
    if missing:
        return Finding("base models", "warn", f"missing: {', '.join(missing)}", "run: tenshot models pull")
    return Finding("base models", "ok", f"{len(rows)} in {fetch.models_dir(workspace)}")
