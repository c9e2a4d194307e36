"""COCO JSON: one file, or a folder with `_annotations.coco.json` in `train/ valid/ test/`, or `train.json` ….

An annotation without a box gets the box around its segmentation; one with neither is an image-level label. Crowd
regions are left out, as in COCO's own evaluation; an image that has nothing else is refused, since it is not empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tenshot.datasets.annotations import Entry
from tenshot.datasets.formats.base import (
    NO_IMAGES_HINT,
    ImageFinder,
    ImageWriter,
    RawBox,
    RawRecord,
    pixel_edges,
    split_in,
    split_of,
)
from tenshot.datasets.formats.documents import first_char, load, mentions, number, rows, size, table, text
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import FormatError, RecordError
from tenshot.projects.status import Task

_NAME = "_annotations.coco.json"
_FOLDERS = ("", "train", "valid", "val", "test", "annotations")
_KEYS = ('"images"', '"annotations"', '"categories"')
Edges = tuple[float, float, float, float]


class Coco:
    name = "coco"
    tasks = frozenset(Task)

    def identify(self, path: Path) -> bool:
        return next(iter(_documents(path)), None) is not None

    def read(self, path: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
        files = [path] if path.is_file() else list(_documents(path))
        if not files:
            raise FormatError(
                f"{path} holds no COCO file (a JSON object with images, annotations and categories)",
                hint="name the JSON file itself",
            )
        for file in files:
            yield from _read(file, images)

    def write(self, path: Path, entries: Iterable[Entry], store: ImageStore) -> None:
        writer, documents = ImageWriter(store), dict[str, _Writer]()
        for entry in entries:
            if entry.labeled:
                document = documents.setdefault(entry.split, _Writer())
                document.add(entry, writer.place(entry, path / entry.split))
        for split, document in documents.items():
            (path / split / _NAME).write_text(json.dumps(document.document(), ensure_ascii=False), "utf-8")


def enclosing_box(segmentation: Any) -> Edges:
    """Edges (left, top, right, bottom, px) around polygons or an uncompressed run-length mask. Raises ValueError."""
    if isinstance(segmentation, dict):
        return _around_mask(segmentation)
    points = [
        number(value, "a coordinate") for part in rows(segmentation, "segmentation") for value in rows(part, "polygon")
    ]
    if len(points) < 6 or len(points) % 2:
        raise ValueError(f"segmentation has {len(points)} coordinates, expected pairs of at least three points")
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _around_mask(mask: dict[str, Any]) -> Edges:
    counts = mask.get("counts")
    if not isinstance(counts, list):
        raise ValueError("has a compressed mask and no bbox; expected a bbox, polygons or plain run lengths")
    dimensions = rows(mask.get("size"), "mask size") or [0]
    height = int(number(dimensions[0], "mask height"))
    if height < 1:
        raise ValueError(f"mask height is {height}, expected at least 1")
    position = 0
    edges: tuple[int, int, int, int] | None = None
    runs = (int(number(count, "a run length")) for count in counts)
    for index, count in enumerate(runs):  # runs go down the columns; odd ones are the object
        if index % 2 and count > 0:
            first, last = position, position + count - 1
            whole = first // height != last // height
            top, bottom = (0, height) if whole else (first % height, last % height + 1)
            run = (first // height, top, last // height + 1, bottom)
            x1, y1, x2, y2 = edges or run
            edges = min(x1, run[0]), min(y1, run[1]), max(x2, run[2]), max(y2, run[3])
        position += count
    if edges is None:
        raise ValueError("has an empty mask")
    return float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3])


def _documents(path: Path) -> Iterator[Path]:
    if path.is_file():
        candidates = [path]
    else:
        folders = (path / name for name in _FOLDERS)
        candidates = [file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.json"))]
    return (f for f in candidates if f.suffix.lower() == ".json" and first_char(f) == "{" and mentions(f, _KEYS))


def _read(file: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
    document = load(file)
    try:
        listed = rows(table(document, "the document").get("images"), "images")
        names = _categories(rows(document.get("categories"), "categories"))
        by_image = _by_image(rows(document.get("annotations"), "annotations"))
    except ValueError as error:
        raise FormatError(f"{file} is not COCO: {error}") from None
    known = {_id(image.get("id")) for image in listed if isinstance(image, dict)}
    for image_id, stray in by_image.items():
        if image_id not in known:
            yield _error(file, f"annotations[{stray[0][0]}] belongs to image_id {image_id!r}, which is not in images")
    split = split_in(file.stem) or split_of(file.parent.name)
    finder = ImageFinder(file.parent, file.parent / "images", file.parent.parent / "images", images, file.parent.parent)
    for index, image in enumerate(listed):
        try:
            record = _record(file, table(image, "image"), by_image, names)
            source = finder.find(record.name)
            if source is None:
                yield _error(file, f"images[{index}]: {finder.missing(record.name)}", NO_IMAGES_HINT)
            else:
                yield RawRecord(
                    source,
                    record.name,
                    str(file),
                    None,
                    split,
                    record.labels,
                    record.boxes,
                    "px",
                    record.declared_wh_px,
                )
        except ValueError as error:
            yield _error(file, f"images[{index}] ({_shown(image)}): {error}")


def _record(
    file: Path, image: dict[str, Any], by_image: dict[Any, list[tuple[int, Any]]], names: dict[Any, str]
) -> RawRecord:
    name = text(image.get("file_name"), "file_name")
    labels: list[str] = []
    boxes: list[RawBox] = []
    annotations = by_image.get(_id(image.get("id")), [])
    objects = [(index, annotation) for index, annotation in annotations if not annotation.get("iscrowd")]
    if annotations and not objects:
        raise ValueError("holds only crowd regions")
    for index, annotation in objects:
        category = _id(annotation.get("category_id"))
        if category not in names:
            raise ValueError(f"annotations[{index}]: category_id {category!r} is not in categories")
        edges = _edges(annotation, index)
        if edges:
            boxes.append(RawBox(names[category], *edges))
        elif names[category] not in labels:
            labels.append(names[category])
    declared = size(image.get("width"), image.get("height"))
    return RawRecord(file, name, str(file), None, None, tuple(labels), tuple(boxes), "px", declared)


def _edges(annotation: dict[str, Any], index: int) -> Edges | None:
    try:
        if annotation.get("bbox"):
            values = [number(value, "bbox") for value in rows(annotation["bbox"], "bbox")]
            if len(values) != 4:
                raise ValueError(f"bbox has {len(values)} numbers, expected [x, y, width, height]")
            x, y, w, h = values
            return x, y, x + w, y + h
        return enclosing_box(annotation["segmentation"]) if annotation.get("segmentation") else None
    except ValueError as error:
        raise ValueError(f"annotations[{index}]: {error}") from None


def _categories(listed: list[Any]) -> dict[Any, str]:
    return {_id(table(c, "category").get("id")): text(c.get("name"), "a category's name") for c in listed}


def _by_image(listed: list[Any]) -> dict[Any, list[tuple[int, Any]]]:
    grouped: dict[Any, list[tuple[int, Any]]] = {}
    for index, annotation in enumerate(listed):
        image_id = _id(table(annotation, f"annotations[{index}]").get("image_id"))
        grouped.setdefault(image_id, []).append((index, annotation))
    return grouped


def _id(value: Any) -> float | str | None:
    """Ids are numbers, or texts in some exports; anything else is made a text that no other id is equal to."""
    return value if value is None or isinstance(value, (int, float, str)) else repr(value)


def _shown(image: Any) -> object:
    return image.get("file_name") if isinstance(image, dict) else type(image).__name__


def _error(file: Path, reason: str, hint: str = "") -> RecordError:
    return RecordError(str(file), None, reason, hint=hint)


class _Writer:
    """One document; category ids are given in the order in which labels appear."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.ids: dict[str, int] = {}

    def add(self, entry: Entry, file_name: str) -> None:
        number_of = len(self.images) + 1
        image = {"id": number_of, "file_name": file_name, "width": entry.width_px, "height": entry.height_px}
        self.images.append(image)
        for label, left, top, right, bottom in pixel_edges(entry):
            box = [round(value, 6) for value in (left, top, right - left, bottom - top)]
            self._annotate(number_of, label, bbox=box, area=round(box[2] * box[3], 3), segmentation=[])
        for label in entry.labels:
            self._annotate(number_of, label)

    def _annotate(self, image: int, label: str, **more: Any) -> None:
        category = self.ids.setdefault(label, len(self.ids) + 1)
        row = {"id": len(self.annotations) + 1, "image_id": image, "category_id": category, "iscrowd": 0, **more}
        self.annotations.append(row)

    def document(self) -> dict[str, Any]:
        categories = [{"id": number_of, "name": label} for label, number_of in self.ids.items()]
        return {"images": self.images, "annotations": self.annotations, "categories": categories}


FORMAT = Coco()
