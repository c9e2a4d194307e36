"""What a dataset format promises, and the raw records it yields. tests/contracts/test_formats.py holds all to it.

**Coordinates.** Boxes are in pixels of the size that the record declares (of the picture, if it declares none) or in
ratios. They refer to the upright picture, because that is what annotation tools show; only where the declared
width×height is the size before the EXIF rotation, and differs from the upright one, boxes are turned with the image.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

from tenshot.datasets.annotations import Entry, Split
from tenshot.datasets.images import EXTENSIONS, ImageStore
from tenshot.projects.errors import RecordError
from tenshot.projects.status import Task


@dataclass(frozen=True, slots=True)
class RawBox:
    """A box as the file has it: edges in the record's unit, not yet judged."""

    label: str
    left: float
    top: float
    right: float
    bottom: float
    line: int | None = None
    """Line of the file that it stands in, 1-based, where that is another than the record's."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One image with its labels as the file has them."""

    source: Path | bytes
    """The image: its file, or its bytes where they are part of the annotations."""
    name: str
    """The image as the user knows it."""
    file: str
    """File to name in errors: where the record stands, or the image itself in formats without annotation files."""
    line: int | None = None
    """1-based."""
    split: Split | None = None
    labels: tuple[str, ...] = ()
    boxes: tuple[RawBox, ...] = ()
    unit: Literal["px", "ratio"] = "px"
    declared_wh_px: tuple[int, int] | None = None
    labeled: bool = True

    def error(self, reason: str, *, line: int | None = None, hint: str = "") -> RecordError:
        return RecordError(self.file, line or self.line, reason, hint=hint)


class Format(Protocol):
    name: str
    tasks: frozenset[Task]
    """Tasks whose labels the format can hold."""

    def identify(self, path: Path) -> bool:
        """Whether a file or folder is of this format. Reads little; raises OSError at most (an unreadable folder)."""
        ...

    def read(self, path: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
        """The records in the file's order; `images` is a folder to look for image files in.

        A bad record is yielded as RecordError and the next one goes on; FormatError is raised where the whole is not of
        this format.
        """
        ...

    def write(self, path: Path, entries: Iterable[Entry], store: ImageStore) -> None:
        """Write labels and images into the folder `path`. Entries that nobody has labeled are left out."""
        ...


BOXES = frozenset({Task.DETECTION})
LABELS = frozenset({Task.CLASSIFICATION, Task.MULTILABEL})

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "test": "test",
    "testing": "test",
    "val": "test",
    "valid": "test",
    "validation": "test",
    "dev": "test",
    "eval": "test",
}


def split_of(word: str) -> Split | None:
    """`train` or `test` for a word that means one of them (validation counts as test), else None."""
    return _SPLITS.get(word.strip().lower())


def split_in(text: str) -> Split | None:
    """The split that a file name such as `instances_val2017` speaks of, or None."""
    words = "".join(c if c.isalpha() else " " for c in text).split()
    return next((split for split in map(split_of, words) if split), None)


def is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def is_junk(path: Path) -> bool:
    """Files that operating systems leave in folders."""
    return path.name.startswith(".") or path.name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def tail_of(reference: str) -> str:
    """The path in a reference: `s3://bucket/a/b.jpg` → `a/b.jpg`, `https://host/a/b.jpg?x` → `a/b.jpg`, else itself."""
    if "://" not in reference:
        return reference
    return unquote(urlsplit(reference).path).lstrip("/")


class ImageFinder:
    """Finds image files by the names that annotations give them, by as much of the path as fits below given folders.

    A bare file name is also found in any subfolder, if there is only one of that name.
    """

    def __init__(self, *roots: Path | None) -> None:
        self.roots = [root for root in dict.fromkeys(roots) if root is not None and root.is_dir()]
        self._by_name: dict[str, Path | None] | None = None

    def find(self, name: str) -> Path | None:
        """The file, or None."""
        name = name.replace("\\", "/")
        if not name or "\0" in name:
            return None
        absolute = Path(name)
        if absolute.is_absolute() and is_file(absolute):
            return absolute
        parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
        for start in range(len(parts)):
            for root in self.roots:
                path = root.joinpath(*parts[start:])
                if is_file(path):
                    return path
        return self._index().get(parts[-1]) if parts else None

    def _index(self) -> dict[str, Path | None]:
        if self._by_name is None:
            self._by_name = {}
            for root in self.roots:
                for path in walk(root):
                    known = self._by_name.setdefault(path.name, path)
                    if known is not None and known.resolve() != path.resolve():
                        self._by_name[path.name] = None  # two of that name: neither
        return self._by_name

    def missing(self, name: str) -> str:
        """What to say about an image that was not found."""
        looked = ", ".join(str(root) for root in self.roots) or "no folder"
        return f"image {name!r} was not found (looked in {looked})"


def is_file(path: Path) -> bool:
    """Also False for a name that no file can have, for instance one that is too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """As `is_file`."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


LONGEST_NAME_BYTES = 200
"""File systems take 255."""

NO_IMAGES_HINT = "name the folder of the images with --images DIR"


def walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Image files below a folder, in order of their paths; hidden ones are left out.

    A link to a folder that it lies in (`above`: their real paths) is not followed, as it has no end.
    """
    above |= {folder.resolve()}
    for path in sorted(folder.iterdir()):
        if is_junk(path):
            continue
        if path.is_dir():
            if path.resolve() not in above:
                yield from walk(path, above)
        elif is_image_name(path.name):
            yield path


class ImageWriter:
    """Copies stored images into a folder under their own names, made safe and unique."""

    def __init__(self, store: ImageStore) -> None:
        self.store = store
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def place(self, entry: Entry, folder: Path) -> str:
        """Copy the image of an entry; returns its path below `folder`, with slashes."""
        stored = self.store.path(entry.image)
        name = safe_path(entry.name) or PurePosixPath(entry.image)
        same = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg"}.get(name.suffix.lower(), name.suffix.lower())
        if same != stored.suffix:
            name = name.with_name(
                name.name + stored.suffix if not is_image_name(name.name) else name.stem + stored.suffix
            )
        target = folder / self._free(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stored, target)
        return target.relative_to(folder).as_posix()

    def _free(self, folder: Path, name: PurePosixPath) -> PurePosixPath:
        """A name that no other image has. The suffix does not count, since a label file has another one, nor does the
        case, which some file systems ignore."""
        wanted = str(folder / name.with_suffix("")).casefold()
        found = name
        while (taken := str(folder / found.with_suffix("")).casefold()) in self._taken:
            number = self._next[wanted] = self._next.get(wanted, 1) + 1
            found = name.with_name(f"{name.stem}-{number}{name.suffix}")
        self._taken.add(taken)
        return found


def safe_path(name: str) -> PurePosixPath | None:
    """A path that stays below the folder it is joined to, of parts that file systems take; None if nothing is left."""
    parts = [_safe_part(part) for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return PurePosixPath(*parts) if parts else None


def _safe_part(part: str) -> str:
    """Without control characters, which annotation files cannot hold, and short enough with `-2` and another suffix."""
    clean = "".join("_" if unicodedata.category(char) in ("Cc", "Cs") else char for char in part)
    if len(clean.encode()) <= LONGEST_NAME_BYTES:
        return clean
    suffix = PurePosixPath(clean).suffix if is_image_name(clean) else ""
    return clean.encode()[: LONGEST_NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix


def pixel_edges(entry: Entry) -> list[tuple[str, float, float, float, float]]:
    """Label, left, top, right, bottom in pixels of the stored image."""
    w, h = entry.width_px, entry.height_px
    return [(b.label, b.left * w, b.top * h, (b.left + b.width) * w, (b.top + b.height) * h) for b in entry.boxes]
