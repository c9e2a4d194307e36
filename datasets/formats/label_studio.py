"""Label Studio's JSON export: Choices are image-level labels, RectangleLabels are boxes.

Of several annotations of a task the ground truth counts, else the newest; cancelled ones never do. A task without an
annotation is an image that nobody has labeled. Of polygons, ellipses and turned boxes the box around them counts.
Coordinates are percent of the upright picture.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tenshot.datasets.annotations import Entry
from tenshot.datasets.formats.base import (
    NO_IMAGES_HINT,
    ImageFinder,
    ImageWriter,
    RawBox,
    RawRecord,
    is_image_name,
    split_of,
    tail_of,
)
from tenshot.datasets.formats.documents import first_char, load, mentions, number, rows, size, table, text
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import FormatError, RecordError
from tenshot.projects.status import Task

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
Edges = tuple[float, float, float, float]


class LabelStudio:
    name = "label-studio"
    tasks = frozenset(Task)

    def identify(self, path: Path) -> bool:
        return _document(path) is not None

    def read(self, path: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
        file = path if path.is_file() else _document(path)
        if file is None:
            raise FormatError(f"{path} holds no Label Studio JSON export", hint="name the JSON file itself")
        tasks = load(file)
        if not isinstance(tasks, list):
            raise FormatError(
                f"{file} holds {type(tasks).__name__}, expected a list of tasks", hint="export as JSON, not as JSON-MIN"
            )
        finder = ImageFinder(images, file.parent, file.parent / "images")
        for index, task in enumerate(tasks):
            try:
                yield _record(file, table(task, "the task"), finder)
            except _Missing as error:
                yield RecordError(str(file), None, f"task[{index}]: {error}", hint=NO_IMAGES_HINT)
            except ValueError as error:
                yield RecordError(str(file), None, f"task[{index}]: {error}")

    def write(self, path: Path, entries: Iterable[Entry], store: ImageStore) -> None:
        path.mkdir(parents=True, exist_ok=True)
        writer = ImageWriter(store)
        tasks = [_task(i, entry, writer.place(entry, path / "images")) for i, entry in enumerate(entries, 1)]
        (path / "tasks.json").write_text(json.dumps(tasks, ensure_ascii=False), "utf-8")


class _Missing(ValueError):
    pass


def choose(annotations: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The annotation that counts: not cancelled, ground truth before others, then the newest."""
    usable = [a for a in annotations if not a.get("was_cancelled")]

    def rank(annotation: dict[str, Any]) -> tuple[bool, str, int]:
        at = str(annotation.get("updated_at") or annotation.get("created_at") or "")
        serial = annotation.get("id")
        return bool(annotation.get("ground_truth")), at, serial if isinstance(serial, int) else 0

    return max(usable, key=rank, default=None)


def rotated_edges(x: float, y: float, w: float, h: float, degrees: float, wh_px: tuple[int, int]) -> Edges:
    """Edges around a rectangle turned clockwise about its top left corner; all in percent of a picture of `wh_px`."""
    if not degrees % 360:
        return x, y, x + w, y + h
    width, height = wh_px
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    w_px, h_px = w * width, h * height
    corners = [(a * cosine - b * sine, a * sine + b * cosine) for a in (0, w_px) for b in (0, h_px)]
    xs, ys = [x + a / width for a, _ in corners], [y + b / height for _, b in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _region(result: dict[str, Any]) -> tuple[list[str], Edges | None] | None:
    """Labels and edges (percent) of a result; edges None for image-level ones; None for what is neither."""
    kind, value = text(result.get("type"), "type of a result"), table(result.get("value"), "value of a result")
    if kind == "choices":
        return [text(choice, "a choice") for choice in rows(value.get("choices"), "choices")], None
    shapes = {"rectangle": _rectangle, "ellipse": _ellipse, "polygon": _polygon}
    shape = shapes.get(kind.removesuffix("labels"))
    if shape is None:
        return None
    if result.get("image_rotation"):
        raise ValueError(f"the image was turned by {result['image_rotation']}° in Label Studio; expected it unturned")
    labels = rows(value.get(kind) or value.get("labels") or [], kind)
    if len(labels) != 1:
        raise ValueError(f"a {kind} result has the labels {labels}, expected one")
    wh_px = size(result.get("original_width"), result.get("original_height"))
    return [text(labels[0], "a label")], shape(value, wh_px or (100, 100))


def _rectangle(value: dict[str, Any], wh_px: tuple[int, int]) -> Edges:
    x, y, w, h = (number(value.get(key), key) for key in ("x", "y", "width", "height"))
    return rotated_edges(x, y, w, h, number(value.get("rotation") or 0, "rotation"), wh_px)


def _ellipse(value: dict[str, Any], wh_px: tuple[int, int]) -> Edges:
    x, y, a, b = (number(value.get(key), key) for key in ("x", "y", "radiusX", "radiusY"))
    turn = math.radians(number(value.get("rotation") or 0, "rotation"))
    (width, height), sine, cosine = wh_px, math.sin(turn), math.cos(turn)
    a_px, b_px = a * width, b * height
    half_w, half_h = math.hypot(a_px * cosine, b_px * sine) / width, math.hypot(a_px * sine, b_px * cosine) / height
    return x - half_w, y - half_h, x + half_w, y + half_h


def _polygon(value: dict[str, Any], wh_px: tuple[int, int]) -> Edges:
    points = [rows(point, "a point") for point in rows(value.get("points"), "points")]
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise ValueError(f"a polygon has the points {points[:3]}…, expected at least three pairs")
    xs, ys = ([number(point[axis], "a point") for point in points] for axis in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def _record(file: Path, task: dict[str, Any], finder: ImageFinder) -> RawRecord:
    data = table(task.get("data"), "data")
    reference = _reference(data)
    source, name = _source(reference, finder)
    found = rows(task.get("annotations", task.get("completions", [])), "annotations")
    annotation = choose([table(a, "an annotation") for a in found])
    labels: list[str] = []
    boxes: list[RawBox] = []
    declared = None
    for result in rows(annotation.get("result"), "result") if annotation else []:
        region = _region(table(result, "a result"))
        if region is None:
            continue
        names, edges = region
        declared = size(result.get("original_width"), result.get("original_height")) or declared
        if edges:
            left, top, right, bottom = (edge / 100 for edge in edges)
            boxes += [RawBox(label, left, top, right, bottom) for label in names]
        else:
            labels += [label for label in names if label not in labels]
    split = split_of(str(data.get("split") or ""))
    return RawRecord(
        source, name, str(file), None, split, tuple(labels), tuple(boxes), "ratio", declared, annotation is not None
    )


def _reference(data: dict[str, Any]) -> str:
    if isinstance(data.get("image"), str):
        return str(data["image"])
    for value in data.values():
        if isinstance(value, str) and (value.startswith("data:image/") or is_image_name(_path_in(value))):
            return value
    raise ValueError(f"data names no image (its keys are {', '.join(data) or 'none'})")


def _path_in(reference: str) -> str:
    """The file path in any of the forms that Label Studio uses."""
    parts = urlsplit(reference)
    if parts.path.endswith("/local-files/") or parts.path.endswith("/local-files"):
        return next(iter(parse_qs(parts.query).get("d", [])), "")
    return tail_of(reference) if parts.scheme else parts.path or reference


def _source(reference: str, finder: ImageFinder) -> tuple[Path | bytes, str]:
    if reference.startswith("data:"):
        try:
            return base64.b64decode(reference.partition(",")[2], validate=True), "inline image"
        except ValueError:
            raise ValueError("the image within the task is not valid base64") from None
    path = _path_in(reference)
    name = path.rsplit("/", 1)[-1]
    plain = _UPLOAD_PREFIX.sub("", name)
    found = finder.find(path) or (finder.find(plain) if plain != name else None)
    if found is None:
        remote = reference.startswith(("http://", "https://"))
        raise _Missing(finder.missing(reference) + ("; it is never downloaded" if remote else ""))
    short = path.removeprefix("images/") if "local-files" in reference else plain
    return found, short


def _document(path: Path) -> Path | None:
    files = [path] if path.is_file() else sorted(path.glob("*.json")) if path.is_dir() else []
    return next((file for file in files if _is_export(file)), None)


def _is_export(file: Path) -> bool:
    if file.suffix.lower() != ".json" or first_char(file) != "[" or not mentions(file, ['"data"']):
        return False
    return mentions(file, ['"annotations"']) or mentions(file, ['"completions"'])


def _task(serial: int, entry: Entry, name: str) -> dict[str, Any]:
    common = {"to_name": "image", "original_width": entry.width_px, "original_height": entry.height_px}
    result: list[dict[str, Any]] = []
    for box in entry.boxes:
        values = {"x": box.left, "y": box.top, "width": box.width, "height": box.height}
        value = {**{key: ratio * 100 for key, ratio in values.items()}, "rotation": 0, "rectanglelabels": [box.label]}
        result.append({"type": "rectanglelabels", "from_name": "box", "image_rotation": 0, "value": value, **common})
    if entry.labels:
        result.append({"type": "choices", "from_name": "label", "value": {"choices": list(entry.labels)}, **common})
    annotations = [{"id": serial, "was_cancelled": False, "ground_truth": False, "result": result}]
    reference = "/data/local-files/?d=" + quote(f"images/{name}")
    return {
        "id": serial,
        "data": {"image": reference, "split": entry.split},
        "annotations": annotations if entry.labeled else [],
    }


FORMAT = LabelStudio()
