"""The images that an export is checked on: some of the project's own, and some whose decoding is easily done wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tenshot.datasets import snapshots
from tenshot.datasets.images import ORIENTATION, ImageStore
from tenshot.projects.errors import NotFoundError

if TYPE_CHECKING:
    from tenshot.projects.records import ModelVersion
    from tenshot.projects.workspace import Workspace

MOST = 16
"""Of the project's own."""


def gather(workspace: Workspace, version: ModelVersion, folder: Path) -> tuple[list[Path], int]:
    """Files to check on, and how many of them are images of the version's dataset (0 if that is gone)."""
    own = list(_of_dataset(workspace, version))
    generated = list(_generated(folder))
    return [*own, *generated], len(own)


def _of_dataset(workspace: Workspace, version: ModelVersion) -> Iterator[Path]:
    """Evenly out of the test split if there is one, else out of all."""
    store = ImageStore.of(workspace)
    try:
        dataset = workspace.store.dataset_version(version.project, version.dataset_version)
        entries = list(snapshots.entries(workspace, dataset))
    except NotFoundError:
        return
    held_out = [entry for entry in entries if entry.split == "test"] or entries
    for entry in held_out[:: max(1, len(held_out) // MOST)][:MOST]:
        try:
            yield store.path(entry.image)
        except NotFoundError:  # what else there is does as well
            continue


def _generated(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    small = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8).astype(np.uint8))
    photo = small.resize((640, 480), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    deep = (np.linspace(0, 65535, 90 * 120).reshape(90, 120)).astype(np.uint16)
    glass = Image.fromarray(draw.integers(0, 256, (70, 50, 4), np.uint8).astype(np.uint8), "RGBA")
    yield _saved(photo, folder / "photo.jpg", quality=90)
    yield _saved(photo, folder / "turned.jpg", quality=90, exif=turned)
    yield _saved(photo.convert("CMYK"), folder / "cmyk.jpg", quality=90)
    yield _saved(photo.convert("L").resize((37, 400)), folder / "tall.png")
    yield _saved(photo.quantize(16), folder / "palette.png")
    yield _saved(Image.fromarray(deep), folder / "deep.png")
    yield _saved(glass, folder / "glass.png")
    yield _saved(photo, folder / "photo.webp", quality=80)
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255)), ("grey", (128, 128, 128))):
        yield _saved(Image.new("RGB", (300, 200), colour), folder / f"{name}.bmp")


def _saved(image: Image.Image, path: Path, **how: object) -> Path:
    image.save(path, **how)
    return path
