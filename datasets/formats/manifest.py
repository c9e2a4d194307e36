"""SageMaker Ground Truth manifest, JSON Lines: `{"source-ref": …, "<attribute>": …, "<attribute>-metadata": {…}}`.

Read are image-level labels (any number of attributes, also native multi-label ones) and boxes. A `source-ref` in S3 is
looked for by its key, as much of it as fits, beside the manifest and in the folder given with --images. A line without
any label attribute is an image that nobody has labeled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from tenshot.datasets.annotations import Entry, Split
from tenshot.datasets.formats.base import (
    NO_IMAGES_HINT,
    ImageFinder,
    ImageWriter,
    RawBox,
    RawRecord,
    pixel_edges,
    split_in,
    tail_of,
)
from tenshot.datasets.formats.documents import number, rows, size, table, text
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import FormatError, RecordError
from tenshot.projects.status import Task

_SUFFIXES = (".manifest", ".jsonl")
_META = "-metadata"


class Manifest:
    name = "manifest"
    tasks = frozenset(Task)

    def identify(self, path: Path) -> bool:
        if path.is_dir():
            return any(_is_manifest(file) for file in _files(path))
        return _is_manifest(path)

    def read(self, path: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
        files = [path] if path.is_file() else [file for file in _files(path) if _is_manifest(file)]
        if not any(_is_manifest(file) for file in files):
            raise FormatError(f"{path} holds no JSON lines with a source-ref", hint="name the manifest file itself")
        for file in files:
            finder = ImageFinder(images, file.parent, file.parent / "images")
            split = split_in(file.stem)
            with file.open(encoding="utf-8-sig", errors="replace") as lines:
                for index, line in enumerate(lines, 1):
                    if line.strip():
                        yield _record(file, index, line, split, finder)

    def write(self, path: Path, entries: Iterable[Entry], store: ImageStore) -> None:
        path.mkdir(parents=True, exist_ok=True)
        writer, files = ImageWriter(store), dict[Split, TextIO]()
        try:
            for entry in entries:
                if entry.split not in files:
                    files[entry.split] = (path / f"{entry.split}.manifest").open("w", encoding="utf-8")
                name = writer.place(entry, path / "images")
                files[entry.split].write(json.dumps(line_of(entry, f"images/{name}"), ensure_ascii=False) + "\n")
        finally:
            for file in files.values():
                file.close()


def parse_line(document: dict[str, Any]) -> tuple[list[str], list[RawBox], tuple[int, int] | None, bool]:
    """Labels, boxes, declared size (px) and whether anything was labeled. Raises ValueError."""
    labels: list[str] = []
    boxes: list[RawBox] = []
    declared, labeled = None, False
    for key in document:
        attribute = key.removesuffix(_META)
        if key == attribute or attribute not in document:
            continue
        labeled = True
        value, metadata = document[attribute], table(document[key], key)
        if isinstance(value, dict) and "annotations" in value:
            boxes += _boxes(attribute, value, metadata)
            declared = _image_size(value) or declared
        else:
            labels += [label for label in _labels(attribute, value, metadata) if label not in labels]
    return labels, boxes, declared, labeled


def line_of(entry: Entry, reference: str) -> dict[str, Any]:
    """The manifest line of an entry."""
    document: dict[str, Any] = {"source-ref": reference}
    common = {"human-annotated": "yes", "creation-date": _date(), "job-name": "labeling-job/tenshot"}
    if not entry.labeled:
        return document
    for index, label in enumerate(entry.labels):
        attribute = f"label-{index}"
        document[attribute] = 1
        metadata = {"confidence": 1, "class-name": label, "type": "groundtruth/image-classification", **common}
        document[attribute + _META] = metadata
    if entry.boxes or not entry.labels:
        document |= _box_attribute(entry, common)
    return document


def _box_attribute(entry: Entry, common: dict[str, str]) -> dict[str, Any]:
    ids = {label: index for index, label in enumerate(sorted({box.label for box in entry.boxes}))}
    annotations = []
    for label, left, top, right, bottom in pixel_edges(entry):
        x, y = min(round(left), entry.width_px - 1), min(round(top), entry.height_px - 1)
        w, h = max(round(right) - x, 1), max(round(bottom) - y, 1)
        annotations.append({"class_id": ids[label], "left": x, "top": y, "width": w, "height": h})
    image_size = [{"width": entry.width_px, "height": entry.height_px, "depth": 3}]
    metadata = {
        "objects": [{"confidence": 1} for _ in annotations],
        "class-map": {str(index): label for label, index in ids.items()},
        "type": "groundtruth/object-detection",
        **common,
    }
    return {"boxes": {"image_size": image_size, "annotations": annotations}, "boxes" + _META: metadata}


def _boxes(attribute: str, value: dict[str, Any], metadata: dict[str, Any]) -> Iterator[RawBox]:
    names = table(metadata.get("class-map"), f"class-map of {attribute}")
    for index, annotation in enumerate(rows(value["annotations"], f"annotations of {attribute}")):
        where = f"annotations[{index}]"
        class_id = str(table(annotation, where).get("class_id"))
        if class_id not in names:
            raise ValueError(f"{where}: class_id {class_id} is not in class-map ({', '.join(names) or 'empty'})")
        x, y, w, h = (number(annotation.get(key), f"{where}.{key}") for key in ("left", "top", "width", "height"))
        yield RawBox(text(names[class_id], "a class name"), x, y, x + w, y + h)


def _labels(attribute: str, value: Any, metadata: dict[str, Any]) -> Iterator[str]:
    if "class-name" in metadata:
        yield text(metadata["class-name"], f"class-name of {attribute}")
    elif "class-map" in metadata and isinstance(value, list):  # native multi-label
        names = table(metadata["class-map"], f"class-map of {attribute}")
        for class_id in value:
            if str(class_id) not in names:
                raise ValueError(f"{attribute}: class {class_id!r} is not in class-map")
            yield text(names[str(class_id)], "a class name")
    else:
        raise ValueError(f"{attribute}{_META} has neither class-name nor class-map")


def _image_size(value: dict[str, Any]) -> tuple[int, int] | None:
    sizes = value.get("image_size")
    first = sizes[0] if isinstance(sizes, list) and sizes and isinstance(sizes[0], dict) else {}
    return size(first.get("width"), first.get("height"))


def _record(file: Path, index: int, line: str, split: Split | None, finder: ImageFinder) -> RawRecord | RecordError:
    try:
        document = table(json.loads(line), "the line")
        reference = text(document.get("source-ref"), "source-ref")
        name = tail_of(reference)
        labels, boxes, declared, labeled = parse_line(document)
    except (ValueError, RecursionError) as error:  # a JSONDecodeError is a ValueError
        return RecordError(str(file), index, str(error))
    source = finder.find(name)
    if source is None:
        return RecordError(str(file), index, finder.missing(reference), hint=NO_IMAGES_HINT)
    short = name.removeprefix("images/") if "://" not in reference else Path(name).name
    return RawRecord(source, short, str(file), index, split, tuple(labels), tuple(boxes), "px", declared, labeled)


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES and f.is_file())


def _is_manifest(path: Path) -> bool:
    """Whether one of the first lines has a source-ref; the name of the file says nothing."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            return any(
                '"source-ref"' in line[:100_000] and line.lstrip()[:1] == "{"
                for _, line in zip(range(5), lines, strict=False)
            )
    except (OSError, UnicodeDecodeError):
        return False


def _date() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "")


FORMAT = Manifest()
