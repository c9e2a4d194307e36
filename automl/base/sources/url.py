"""A file behind an http(s) address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.automl.base import download
from tenshot.automl.base.sources import Fetched

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import UrlSource
    from tenshot.projects.settings import ModelSettings

HINT = (
    "check the network and its proxy (HTTPS_PROXY); where it cannot be reached, put the file on a mirror "
    "(setting models.assets_url) or give it by its path (--base NAME=PATH)"
)


def fetch(source: UrlSource, directory: Path, settings: ModelSettings) -> Fetched:
    target = directory / "file"
    download.download(source.url, target, settings, hint=HINT)
    return Fetched(target)
