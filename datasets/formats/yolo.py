"""YOLO: a `data.yaml` with names and folders, or a folder with `images/`, `labels/` and `classes.txt`.

A label line is `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 …` (a polygon or a turned box: the box around it counts),
in ratios of the picture. An image without a label file is a background image, as Ultralytics has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tenshot.datasets.annotations import Entry, Split
from tenshot.datasets.formats.base import (
    BOXES,
    ImageFinder,
    ImageWriter,
    RawBox,
    RawRecord,
    is_file,
    is_folder,
    split_of,
    walk,
)
from tenshot.datasets.formats.documents import lines_of
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import FormatError, RecordError

_YAMLS = (".yaml", ".yml")
_KEYS: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "test"), ("valid", "test"), ("test", "test"))


@dataclass(frozen=True)
class _Place:
    """A folder of images or a text file that lists them."""

    path: Path
    split: Split | None
    base: Path


class Yolo:
    name = "yolo"
    tasks = BOXES

    def identify(self, path: Path) -> bool:
        if path.is_file():
            return path.suffix.lower() in _YAMLS and "names" in _yaml_or_empty(path)
        return path.is_dir() and (_yaml_in(path) is not None or _classes_file(path) is not None)

    def read(self, path: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
        names, places = _layout(path)
        finder = ImageFinder(images)
        seen = False
        for place in places:
            for image in _images(place, finder):
                seen = True
                yield image if isinstance(image, RecordError) else _record(image, place, names)
        if not seen and images is None:
            looked = ", ".join(str(place.path) for place in places) or str(path)
            raise FormatError(f"found no images for {path} (looked in {looked})", hint="check the paths in data.yaml")

    def write(self, path: Path, entries: Iterable[Entry], store: ImageStore) -> None:
        path.mkdir(parents=True, exist_ok=True)
        writer, ids, splits = ImageWriter(store), dict[str, int](), dict[str, str]()
        for entry in entries:
            if entry.labeled:
                name = writer.place(entry, path / "images" / entry.split)
                labels = (path / "labels" / entry.split / name).with_suffix(".txt")
                labels.parent.mkdir(parents=True, exist_ok=True)
                labels.write_text("".join(_line(entry, ids)), "utf-8")
                splits[entry.split] = f"images/{entry.split}"
        # Ultralytics wants a `val`, which is what it tunes against; the test split stands in for it.
        places = {"train": splits.get("train", "images/test"), "val": splits.get("test", "images/train")}
        if set(splits) == {"test"}:
            places = {"train": "", "val": "images/test"}
        document = {**places, "names": {number: label for label, number in ids.items()}}
        (path / "data.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")


def parse_line(line: str, names: dict[int, str]) -> tuple[str, float, float, float, float]:
    """Label and edges (left, top, right, bottom as ratios). Raises ValueError saying what was got and expected."""
    words = line.split()
    try:
        number, values = int(float(words[0])), [float(word) for word in words[1:]]
    except (ValueError, OverflowError):
        raise ValueError(f"got {line.strip()[:60]!r}, expected numbers: class cx cy w h") from None
    if number not in names:
        raise ValueError(f"class {number} is not one of the {len(names)} names (0…{max(names, default=0)})")
    if len(values) in (4, 5):  # five: a confidence at the end
        cx, cy, w, h = values[:4]
        return names[number], cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"got {len(values)} numbers after the class, expected 4, or pairs of at least three points")
    xs, ys = values[::2], values[1::2]
    return names[number], min(xs), min(ys), max(xs), max(ys)


def _layout(path: Path) -> tuple[dict[int, str], list[_Place]]:
    document = path if path.is_file() else _yaml_in(path)
    if document is not None:
        content = _yaml_or_empty(document)
        return _names(content.get("names"), document), list(_places(content, document.parent))
    classes = _classes_file(path)
    if classes is None:
        raise FormatError(
            f"{path} holds neither a YAML file with names nor images/, labels/ and classes.txt",
            hint="name data.yaml itself, or put classes.txt beside the folders",
        )
    lines = [line.strip() for line in lines_of(classes)]
    names = {index: line for index, line in enumerate(lines) if line}
    folder = path / "images"
    inner = [sub for sub in sorted(folder.iterdir()) if sub.is_dir() and split_of(sub.name)] if folder.is_dir() else []
    places = [_Place(sub, split_of(sub.name), path) for sub in inner]
    return names, places or [_Place(folder if folder.is_dir() else path, None, path)]


def _names(value: Any, path: Path) -> dict[int, str]:
    try:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {int(number): str(_scalar(name)) for number, name in pairs}
    except (TypeError, ValueError, OverflowError):
        kind = type(value).__name__
        raise FormatError(f"{path}: names is a {kind}, expected a list of names or numbers with names") from None


def _scalar(value: Any) -> str | int | float:
    """YAML's aliases can make a value of a few bytes gigabytes long as text, so what is not plain is never shown."""
    if isinstance(value, (str, int, float)):
        return value
    raise ValueError(f"got a {type(value).__name__}, expected a text or a number")


def _places(content: dict[str, Any], folder: Path) -> Iterator[_Place]:
    """Each folder or list once: where `val` is the same as `train`, for want of another one, it stays train."""
    try:
        root = folder / str(_scalar(content.get("path") or ""))
        listed = [(split, _scalar(item)) for key, split in _KEYS for item in _items(content.get(key))]
    except ValueError as error:
        raise FormatError(f"{folder}: a path in data.yaml: {error}") from None
    seen: set[Path] = set()
    for split, item in listed:
        path = _resolve(str(item), root, folder)
        if path.resolve() not in seen:
            seen.add(path.resolve())
            yield _Place(path, split, folder)


def _items(value: Any) -> list[Any]:
    return [item for item in (value if isinstance(value, list) else [value]) if item]


def _resolve(item: str, root: Path, folder: Path) -> Path:
    """Paths in data.yaml are often right only where they were written, such as `../train/images` for `train/images`."""
    parts = [part for part in Path(item).parts if part not in ("..", ".", "/")]
    if "\0" in item:
        raise FormatError(f"{folder}: a path in data.yaml holds a zero byte", hint="write the path anew")
    tries = [root / item, folder / item, *(folder.joinpath(*parts[start:]) for start in range(len(parts)))]
    return next((path for path in tries if is_file(path) or is_folder(path)), folder / item)


def _images(place: _Place, finder: ImageFinder) -> Iterator[Path | RecordError]:
    if is_folder(place.path):
        yield from walk(place.path)
    elif is_file(place.path):
        local = ImageFinder(place.path.parent, place.base)
        for number, line in enumerate(lines_of(place.path), 1):
            if line.strip():
                found = local.find(line.strip()) or finder.find(line.strip())
                yield found or RecordError(str(place.path), number, local.missing(line.strip()))
    else:
        yield RecordError(str(place.path), None, "there is no such folder or list of images")


def _label_file(image: Path) -> Path:
    """`…/images/…/x.jpg` → `…/labels/…/x.txt`, else beside the image."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            return Path(*parts[:index], "labels", *parts[index + 1 :]).with_suffix(".txt")
    return image.with_suffix(".txt")


def _record(image: Path, place: _Place, names: dict[int, str]) -> RawRecord | RecordError:
    labels = _label_file(image)
    base = place.path if place.path.is_dir() else image.parent
    name = image.relative_to(base).as_posix() if image.is_relative_to(base) else image.name
    if not labels.is_file():
        return RawRecord(image, name, str(image), None, place.split, unit="ratio")
    boxes: list[RawBox] = []
    number = 0
    try:
        for number, line in enumerate(labels.read_text("utf-8-sig").splitlines(), 1):
            if line.strip():
                boxes.append(RawBox(*parse_line(line, names), line=number))
    except (ValueError, OSError) as error:  # a UnicodeDecodeError is a ValueError
        return RecordError(str(labels), number or None, str(error))
    return RawRecord(image, name, str(labels), None, place.split, boxes=tuple(boxes), unit="ratio")


def _yaml_or_empty(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _yaml_in(folder: Path) -> Path | None:
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in _YAMLS), key=lambda f: f.stem != "data")
    return next((f for f in files if "names" in _yaml_or_empty(f)), None)


def _classes_file(folder: Path) -> Path | None:
    files = (folder / name for name in ("classes.txt", "labels/classes.txt", "obj.names"))
    return next((file for file in files if file.is_file()), None)


def _line(entry: Entry, ids: dict[str, int]) -> Iterator[str]:
    for box in entry.boxes:
        number = ids.setdefault(box.label, len(ids))
        cx, cy = box.left + box.width / 2, box.top + box.height / 2
        yield f"{number} {cx:.8f} {cy:.8f} {box.width:.8f} {box.height:.8f}\n"


FORMAT = Yolo()
