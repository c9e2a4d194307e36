"""A file of a repository on a hub of the Hugging Face kind: `<hub>/<repository>/resolve/<revision>/<file>`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tenshot.automl.base import download
from tenshot.automl.base.sources import Fetched

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import HubSource
    from tenshot.projects.settings import ModelSettings

PUBLIC = "https://huggingface.co"
SHA256 = re.compile("[0-9a-f]{64}")
COMMIT = re.compile("[0-9a-f]{40}")
HINT = (
    "check the network and its proxy (HTTPS_PROXY); where the hub cannot be reached, name a mirror (setting "
    "models.hub_url or HF_ENDPOINT) or give the file by its path (--base NAME=PATH)"
)


def fetch(source: HubSource, directory: Path, settings: ModelSettings) -> Fetched:
    """The hub's own word on the commit and, for large files, on the sha256 comes with it."""
    target = directory / "file"
    path = f"{source.repository}/resolve/{quote(source.revision, safe='')}/{quote(source.file)}"
    url = f"{endpoint(settings)}/{path}"
    headers = download.download(url, target, settings, hint=HINT, authorisation=_authorisation(url))
    commit, etag = headers.get("x-repo-commit", ""), headers.get("x-linked-etag", "").strip('"')
    return Fetched(
        target,
        revision=commit if COMMIT.fullmatch(commit) else None,
        sha256=etag if SHA256.fullmatch(etag) else None,
    )


def endpoint(settings: ModelSettings) -> str:
    """The setting, else HF_ENDPOINT, else the public hub; without a slash at its end."""
    return (settings.hub_url or os.environ.get("HF_ENDPOINT") or PUBLIC).rstrip("/")


def _authorisation(url: str) -> str | None:
    """The user's token, if there is one and it does not travel in the open."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return f"Bearer {token}" if token and urlsplit(url).scheme == "https" else None
