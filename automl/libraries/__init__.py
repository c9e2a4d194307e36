"""Libraries whose published weights `--base` may name: one file each. A row names a `Library`.

Nothing is downloaded by a library itself: it says where its files are, and Tenshot's own sources fetch them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tenshot.automl.base.catalogue import FileSource, UrlSource
from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import Source
    from tenshot.projects.settings import ModelSettings


@dataclass(frozen=True)
class Offer:
    """Weights that a library publishes."""

    model: str
    """The library's full name of them, which never means other weights later."""
    title: str
    licence: str
    """SPDX, or NOASSERTION where the library does not say."""
    input: str
    sources: tuple[Source, ...]
    """Tried in this order."""
    sha256: str = ""
    """As much of its beginning as the library tells."""


@dataclass(frozen=True)
class Library:
    role: str
    """`backbone` or `detector`."""
    names: Callable[[], list[str]]
    """Every name that `offer` takes."""
    offer: Callable[[str, ModelSettings], Offer]
    """Of one of `names`. Raises WeightsError if nothing is published under it."""
    load: Callable[[str, Path], Any]
    """(offer's model, file) → Backbone, or for a detector what its family starts from. Raises WeightsError if the file
    is not of that model. No code that a file may hold is run."""


LIBRARIES: Registry[Library] = Registry(
    "library of models",
    {
        "timm": "tenshot.automl.libraries.timm:LIBRARY",
        "torchvision": "tenshot.automl.libraries.torchvision:LIBRARY",
        "ultralytics": "tenshot.automl.libraries.ultralytics:LIBRARY",
    },
)
"""In the order in which a bare name is looked up."""


def published(url: str, settings: ModelSettings) -> Source:
    """A published file, or its copy on the mirror that the setting models.assets_url names."""
    mirror, name = settings.assets_url, PurePosixPath(urlsplit(url).path).name
    if not mirror:
        return UrlSource(kind="url", url=url)
    if "://" in mirror:
        return UrlSource(kind="url", url=f"{mirror.rstrip('/')}/{name}")
    return FileSource(kind="file", path=str(Path(mirror).expanduser() / name))
