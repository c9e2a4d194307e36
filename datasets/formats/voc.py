"""Pascal VOC: an XML file per image, in `Annotations/` beside `JPEGImages/`, or beside the images.

Splits come from `ImageSets/Main/*.txt` or from folders named train, test, …. Coordinates are taken as edges in pixels,
counted from 0 as today's tools write them; written ones are whole pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, ParseError, SubElement, indent

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import parse

from tenshot.datasets.annotations import Entry, Split
from tenshot.datasets.formats.base import (
    BOXES,
    NO_IMAGES_HINT,
    ImageFinder,
    ImageWriter,
    RawBox,
    RawRecord,
    is_file,
    is_junk,
    pixel_edges,
    split_of,
)
from tenshot.datasets.formats.documents import lines_of, size
from tenshot.datasets.images import EXTENSIONS, ImageStore
from tenshot.projects.errors import FormatError, RecordError

_EDGES = ("xmin", "ymin", "xmax", "ymax")


class Voc:
    name = "voc"
    tasks = BOXES

    def identify(self, path: Path) -> bool:
        return any(_root_tag(file) == "annotation" for file in islice(_xml_files(path), 3))

    def read(self, path: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
        files = iter(_xml_files(path))
        first = next(files, None)
        if first is None:
            raise FormatError(f"{path} holds no XML files", hint="expected one <annotation> per image")
        root = path if path.is_dir() else path.parent
        splits = _image_sets(root) or _image_sets(root.parent)
        finder = ImageFinder(images, root / "JPEGImages", root / "images", root.parent / "JPEGImages", root)
        yield _record(first, root, splits, finder)
        for file in files:
            yield _record(file, root, splits, finder)

    def write(self, path: Path, entries: Iterable[Entry], store: ImageStore) -> None:
        writer, sets = ImageWriter(store), dict[str, list[str]]()
        for entry in entries:
            if entry.labeled:
                name = writer.place(entry, path / "JPEGImages")
                target = (path / "Annotations" / name).with_suffix(".xml")
                target.parent.mkdir(parents=True, exist_ok=True)
                _tree(entry, name).write(target, "utf-8")
                sets.setdefault(entry.split, []).append(Path(name).with_suffix("").as_posix())
        lists = path / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        for split, stems in sets.items():
            (lists / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), "utf-8")


def parse_object(element: Element) -> RawBox:
    """A box from an <object>. Raises ValueError saying what is missing."""
    label = (element.findtext("name") or "").strip()
    box = element.find("bndbox")
    if box is None:
        raise ValueError(f"object {label!r} has no bndbox")
    try:
        left, top, right, bottom = (float(box.findtext(edge) or "") for edge in _EDGES)
    except ValueError:
        got = [box.findtext(edge) for edge in _EDGES]
        raise ValueError(f"object {label!r} has the box {got}, expected four numbers") from None
    return RawBox(label, left, top, right, bottom)


def _record(file: Path, root: Path, splits: dict[str, Split], finder: ImageFinder) -> RawRecord | RecordError:
    try:
        tree = parse(file).getroot()
        if tree is None or tree.tag != "annotation":
            raise ValueError(f"the root element is <{getattr(tree, 'tag', '')}>, expected <annotation>")
        boxes = tuple(parse_object(element) for element in tree.iter("object"))
    except ParseError as error:
        return RecordError(str(file), error.position[0], f"is not well-formed XML: {error}")
    except DefusedXmlException:
        return RecordError(str(file), None, "declares XML entities, which are refused")
    except (ValueError, OSError, LookupError) as error:  # LookupError: an encoding that nobody knows
        return RecordError(str(file), None, str(error))
    declared = size(tree.findtext("size/width"), tree.findtext("size/height"))
    name = (tree.findtext("filename") or "").strip() or file.with_suffix(".jpg").name
    source = _image(file, name, finder)
    if source is None:
        return RecordError(str(file), None, finder.missing(name), hint=NO_IMAGES_HINT)
    return RawRecord(source, name, str(file), None, _split(file, root, splits), (), boxes, "px", declared)


def _image(file: Path, name: str, finder: ImageFinder) -> Path | None:
    """By the name in the XML, beside the XML first; else of the XML's own name."""
    beside = file.parent / Path(name.replace("\\", "/")).name
    if is_file(beside):
        return beside
    stems = (file.with_suffix(suffix) for suffix in sorted(EXTENSIONS))
    return finder.find(name) or next((path for path in stems if path.is_file()), None)


def _split(file: Path, root: Path, splits: dict[str, Split]) -> Split | None:
    folders = [part for part in file.relative_to(root).parts[:-1] if part != "Annotations"]
    stem = "/".join((*folders, file.stem))
    if stem in splits:
        return splits[stem]
    if file.stem in splits:
        return splits[file.stem]
    return next((split for split in map(split_of, folders) if split), split_of(root.name))


def _image_sets(root: Path) -> dict[str, Split]:
    found: dict[str, Split] = {}
    # trainval holds train and val; the narrower lists come later and win.
    for name in ("trainval", "train", "val", "test"):
        file, split = root / "ImageSets" / "Main" / f"{name}.txt", split_of(name)
        if split and file.is_file():
            found |= dict.fromkeys((line.strip() for line in lines_of(file)), split)
    return found


def _xml_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix.lower() == ".xml":
            yield path
        return
    for child in sorted(path.iterdir()) if path.is_dir() else []:
        if not is_junk(child):
            if child.is_dir():
                yield from _xml_files(child)
            elif child.suffix.lower() == ".xml":
                yield child


def _root_tag(file: Path) -> str:
    try:
        root = parse(file).getroot()
    except (ParseError, DefusedXmlException, ValueError, OSError, LookupError):
        return ""
    return "" if root is None else root.tag


def _tree(entry: Entry, name: str) -> ElementTree[Element]:
    root = Element("annotation")
    SubElement(root, "filename").text = name
    dimensions = SubElement(root, "size")
    for tag, value in (("width", entry.width_px), ("height", entry.height_px), ("depth", 3)):
        SubElement(dimensions, tag).text = str(value)
    for label, left, top, right, bottom in pixel_edges(entry):
        element = SubElement(root, "object")
        SubElement(element, "name").text = label
        box = SubElement(element, "bndbox")
        x, y = min(round(left), entry.width_px - 1), min(round(top), entry.height_px - 1)
        for tag, value in zip(_EDGES, (x, y, max(round(right), x + 1), max(round(bottom), y + 1)), strict=True):
            SubElement(box, tag).text = str(value)
    indent(root)
    return ElementTree(root)


FORMAT = Voc()
