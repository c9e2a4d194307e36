"""CSV with one row per label or box: `image,label[,split][,left,top,width,height | ,xmin,ymin,xmax,ymax]`.

The delimiter is found by itself (comma, semicolon, tab, bar). Without a header the columns are image and label. Boxes
are in pixels; if all numbers of an image lie in 0…1 they are ratios (as pixels, its boxes would be smaller than one).
Beside edges (`xmin` …), the columns `width` and `height` are the image's declared size. Rows of one image belong
together. A row with an empty label says that there is nothing in the image.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tenshot.datasets.annotations import Entry, Split
from tenshot.datasets.formats.base import (
    NO_IMAGES_HINT,
    ImageFinder,
    ImageWriter,
    RawBox,
    RawRecord,
    is_image_name,
    pixel_edges,
    split_of,
)
from tenshot.datasets.formats.documents import size
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import FormatError, RecordError
from tenshot.projects.status import Task

_IMAGE = ("image", "file", "filename", "file_name", "filepath", "file_path", "path", "image_path", "image_name")
_LABEL = ("label", "class", "category", "class_name", "label_name")
_SPLIT = ("split", "set", "subset")
_SIZED = ("left", "top", "width", "height")
_EDGES = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"))
_SUFFIXES = (".csv", ".tsv")


@dataclass
class _Columns:
    """Position of each column, -1 where there is none."""

    image: int
    label: int
    split: int = -1
    box: tuple[int, ...] = ()
    sized: bool = False
    """The box columns are left, top, width, height and not edges."""
    size: tuple[int, ...] = ()


@dataclass
class _Group:
    line: int
    split: Split | None = None
    labels: list[str] = field(default_factory=list)
    boxes: list[RawBox] = field(default_factory=list)
    size: tuple[int, int] | None = None
    error: RecordError | None = None


class Csv:
    name = "csv"
    tasks = frozenset(Task)

    def identify(self, path: Path) -> bool:
        if path.is_dir():
            return len(_tables(path)) == 1
        if path.suffix.lower() not in (*_SUFFIXES, ".txt") or not path.is_file():
            return False
        head = _head(path)
        return bool(head) and (columns_of(head[0]) is not None or _looks_headerless(head[0]))

    def read(self, path: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
        path = _only_table(path) if path.is_dir() else path
        finder = ImageFinder(path.parent, path.parent / "images", images)
        groups: dict[str, _Group] = {}
        yield from _rows(path, groups)
        for name, group in groups.items():
            yield group.error or _record(path, name, group, finder)

    def write(self, path: Path, entries: Iterable[Entry], store: ImageStore) -> None:
        path.mkdir(parents=True, exist_ok=True)
        writer = ImageWriter(store)
        with (path / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("image", "label", "split", *_SIZED))
            for entry in entries:
                if entry.labeled:
                    name = writer.place(entry, path / "images")
                    table.writerows((name, label, entry.split, *box) for label, box in _cells(entry))


def columns_of(header: list[str]) -> _Columns | None:
    """Where the columns are, or None if this row is not a header."""
    names = [cell.strip().lower().lstrip("\ufeff") for cell in header]
    image = next((names.index(name) for name in _IMAGE if name in names), -1)
    label = next((names.index(name) for name in _LABEL if name in names), -1)
    if image < 0 or label < 0:
        return None
    columns = _Columns(image, label, next((names.index(name) for name in _SPLIT if name in names), -1))
    edges = next((edges for edges in _EDGES if all(name in names for name in edges)), None)
    if edges:
        columns.box = tuple(names.index(name) for name in edges)
        if "width" in names and "height" in names:
            columns.size = (names.index("width"), names.index("height"))
    elif all(name in names for name in _SIZED):
        columns.box, columns.sized = tuple(names.index(name) for name in _SIZED), True
    return columns


def box_of(cells: list[str], *, sized: bool) -> tuple[float, float, float, float] | None:
    """Edges of a box, None if all four cells are empty. Raises ValueError saying what was got."""
    if not any(cell.strip() for cell in cells):
        return None
    try:
        a, b, c, d = (float(cell) for cell in cells)
    except ValueError:
        raise ValueError(f"got {cells} for a box, expected four numbers") from None
    return (a, b, a + c, b + d) if sized else (a, b, c, d)


def _rows(path: Path, groups: dict[str, _Group]) -> Iterator[RecordError]:
    """Sort rows into `groups`; yields the errors of rows that name no image."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, _dialect(path), strict=True)
            first = next(reader, None)
            if first is None:
                raise FormatError(f"{path} is empty", hint="expected rows of image,label")
            columns = columns_of(first)
            if columns is None:
                columns = _headerless(path, first)
                _take(path, 1, first, columns, groups)
            for row in reader:
                if any(cell.strip() for cell in row) and not _take(path, reader.line_num, row, columns, groups):
                    yield RecordError(str(path), reader.line_num, "names no image")
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} cannot be read as CSV: {error}", hint="save it as CSV in UTF-8") from None


def _headerless(path: Path, first: list[str]) -> _Columns:
    if _looks_headerless(first):
        return _Columns(0, 1)
    raise FormatError(
        f"{path}: the first row is {first}, expected a header with at least image,label",
        hint="name the columns: image,label[,split][,left,top,width,height]",
    )


def _take(path: Path, line: int, row: list[str], columns: _Columns, groups: dict[str, _Group]) -> bool:
    """Add a row to its image's group; one bad row spoils the image. False if the row names no image."""
    name = row[columns.image].strip() if columns.image < len(row) else ""
    if not name:
        return False
    group = groups.setdefault(name, _Group(line))
    try:
        _add(group, line, row, columns)
    except ValueError as error:
        group.error = group.error or RecordError(str(path), line, f"{name}: {error}")
    return True


def _add(group: _Group, line: int, row: list[str], columns: _Columns) -> None:
    if len(row) <= columns.label:
        raise ValueError(f"the row has {len(row)} columns, expected at least {columns.label + 1}")
    label = row[columns.label].strip()
    split = _split(row, columns)
    if split and group.split not in (None, split):
        raise ValueError(f"is in split {group.split} in line {group.line} and in {split} here")
    group.split, group.size = split or group.split, _size(row, columns) or group.size
    edges = box_of([row[i] if i < len(row) else "" for i in columns.box], sized=columns.sized)
    if edges and not label:
        raise ValueError("has a box without a label")
    if edges:
        group.boxes.append(RawBox(label, *edges, line=line))
    elif label and label not in group.labels:
        group.labels.append(label)


def _split(row: list[str], columns: _Columns) -> Split | None:
    word = row[columns.split].strip() if 0 <= columns.split < len(row) else ""
    split = split_of(word)
    if word and split is None:
        raise ValueError(f"split is {word!r}, expected train, test or val")
    return split


def _size(row: list[str], columns: _Columns) -> tuple[int, int] | None:
    cells = [row[i] if i < len(row) else "" for i in columns.size]
    return size(*cells) if cells else None


def _record(path: Path, name: str, group: _Group, finder: ImageFinder) -> RawRecord | RecordError:
    source = finder.find(name)
    if source is None:
        return RecordError(str(path), group.line, finder.missing(name), hint=NO_IMAGES_HINT)
    ratio = bool(group.boxes) and all(_within_one(box) for box in group.boxes)
    return RawRecord(
        source,
        name,
        str(path),
        group.line,
        group.split,
        tuple(group.labels),
        tuple(group.boxes),
        "ratio" if ratio else "px",
        group.size,
    )


def _within_one(box: RawBox) -> bool:
    return all(0 <= edge <= 1 + 1e-6 for edge in (box.left, box.top, box.right, box.bottom))


def _cells(entry: Entry) -> Iterator[tuple[str, tuple[str, ...]]]:
    for label, left, top, right, bottom in pixel_edges(entry):
        yield label, tuple(f"{value:.6f}" for value in (left, top, right - left, bottom - top))
    if not entry.boxes:
        for label in entry.labels or ("",):
            yield label, ("",) * 4


def _dialect(path: Path) -> type[csv.Dialect]:
    """Comma, semicolon, tab or bar: the one that the first line has most of."""
    line = (_lines(path) or [""])[0]

    class Found(csv.excel):
        delimiter = max(",;\t|", key=line.count)

    return Found


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [line for line in (file.readline(10_000) for _ in range(2)) if line.strip()]
    except (OSError, UnicodeDecodeError):
        return []


def _head(path: Path) -> list[list[str]]:
    lines = _lines(path)
    try:
        return list(csv.reader(io.StringIO("".join(lines)), _dialect(path)))
    except csv.Error:
        return []


def _looks_headerless(row: list[str]) -> bool:
    return len(row) >= 2 and is_image_name(row[0].strip()) and bool(row[1].strip())


def _tables(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    return [file for file in files if (head := _head(file)) and columns_of(head[0]) is not None]


def _only_table(folder: Path) -> Path:
    found = _tables(folder)
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found) or "none"
    raise FormatError(
        f"{folder} holds {len(found)} CSV files with the columns image and label ({names}), expected one",
        hint="name the CSV file itself",
    )


FORMAT = Csv()
