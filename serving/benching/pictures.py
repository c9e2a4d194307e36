"""The images that an endpoint is driven with: the user's own files, or some of those that its project learned from."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.projects.errors import EmptyDataError, ImageError, NotFoundError

if TYPE_CHECKING:
    from tenshot.projects.records import ModelVersion
    from tenshot.projects.workspace import Workspace

DRAWN = 32
"""Images of the dataset that are sent, again and again."""
SEED = 0
UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Picture:
    path: Path
    format: str
    """JPEG, PNG …; empty for a file that is no image, which the endpoint is to refuse."""
    size_bytes: int

    @property
    def content_type(self) -> str:
        return f"image/{self.format.lower()}" if self.format else UNKNOWN


def chosen(workspace: Workspace, version: ModelVersion, words: Sequence[str]) -> list[Picture]:
    """The named files, folders and globs; without words up to DRAWN images of the version's dataset, JPEG before
    anything else, drawn from a fixed seed. Raises EmptyDataError, ImageError for a file that cannot be read."""
    if words:
        from tenshot.serving.predicting import find_images

        return [_read(path) for path in find_images(words)]
    found = [_read(path) for path in _stored(workspace, version)]
    if not found:
        raise EmptyDataError(
            f"the dataset of {version.ref} has no images here", hint=f"name some: tenshot bench {version.ref} photo.jpg"
        )
    return found


def described(pictures: Sequence[Picture]) -> dict[str, Any]:
    formats = Counter(picture.format or "unknown" for picture in pictures)
    sizes = sorted(picture.size_bytes for picture in pictures)
    return {"count": len(pictures), "formats": dict(formats), "median_bytes": sizes[len(sizes) // 2]}


def _stored(workspace: Workspace, version: ModelVersion) -> list[Path]:
    from tenshot.datasets import snapshots
    from tenshot.datasets.images import ImageStore

    store = ImageStore.of(workspace)
    dataset = workspace.store.dataset_version(version.project, version.dataset_version)
    try:
        names = [entry.image for entry in snapshots.entries(workspace, dataset)]
        random.Random(SEED).shuffle(names)
        paths = [store.path(name) for name in names]
    except NotFoundError as error:
        raise EmptyDataError(
            f"the images of {version.ref} are not here: {error.message}",
            hint=f"name some: tenshot bench {version.ref} photo.jpg",
        ) from None
    return sorted(paths, key=lambda path: path.suffix != ".jpg")[:DRAWN]


def _read(path: Path) -> Picture:
    from tenshot.datasets.images import read_bytes, sniff

    data = read_bytes(path)
    if not data:
        raise ImageError(str(path), "the file is empty")
    return Picture(path, sniff(data), len(data))
