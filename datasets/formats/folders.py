"""Class folders: `<class>/image.jpg`, also with `train/`, `test/` … above the classes. The folder is the label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tenshot.datasets.annotations import Entry, Split
from tenshot.datasets.formats.base import ImageWriter, RawRecord, is_image_name, is_junk, split_of, walk
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import FormatError, RecordError
from tenshot.projects.status import Task

_NOT_CLASSES = frozenset({"images", "labels", "annotations", "jpegimages", "imagesets"})
_NOT_BESIDE = frozenset({".xml", ".json"})


class Folders:
    name = "folders"
    tasks = frozenset({Task.CLASSIFICATION})

    def identify(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        folders = [folder for _, folder in _classes(path)]
        if not folders or any(folder.name.lower() in _NOT_CLASSES for folder in folders):
            return False
        if any(_has_annotations(folder) for folder in folders):
            return False
        return any(next(walk(folder), None) is not None for folder in folders)

    def read(self, path: Path, images: Path | None) -> Iterator[RawRecord | RecordError]:
        if not path.is_dir():
            raise FormatError(f"{path} is not a folder; the format 'folders' needs one folder per class")
        found = False
        for split, folder in _classes(path):
            found = True
            yield from (_record(file, folder, split) for file in _files(folder))
        if not found:
            raise FormatError(
                f"{path} holds no class folders", hint="put the images of each class into their own folder"
            )
        for holder in (path, *(folder for folder in _subfolders(path) if split_of(folder.name))):
            for file in sorted(holder.iterdir()):
                if file.is_file() and is_image_name(file.name):
                    yield RecordError(
                        str(file), None, "lies in no class folder", hint="move it into one, or leave it out"
                    )

    def write(self, path: Path, entries: Iterable[Entry], store: ImageStore) -> None:
        writer = ImageWriter(store)
        for entry in entries:
            for label in entry.labels[:1]:
                writer.place(entry, path / entry.split / _folder_name(label))


def _classes(path: Path) -> Iterator[tuple[Split | None, Path]]:
    """Class folders with the split that the folder above them stands for."""
    for folder in _subfolders(path):
        split = split_of(folder.name)
        inner = _subfolders(folder) if split else []
        if inner:
            yield from ((split, label) for label in inner)
        elif not split:
            yield None, folder


def _subfolders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not is_junk(folder))


def _files(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Not into a link to a folder that it lies in (see `walk`)."""
    above |= {folder.resolve()}
    for path in sorted(folder.iterdir()):
        if is_junk(path):
            continue
        if path.is_dir():
            if path.resolve() not in above:
                yield from _files(path, above)
        else:
            yield path  # also what does not look like an image: decoding says what it is


def _record(file: Path, folder: Path, split: Split | None) -> RawRecord:
    return RawRecord(file, file.relative_to(folder).as_posix(), str(file), None, split, (folder.name,))


def _has_annotations(folder: Path) -> bool:
    return any(file.suffix.lower() in _NOT_BESIDE for file in islice(_files(folder), 50))


def _folder_name(label: str) -> str:
    """Raises FormatError for a label that no folder can have, or none that would be read again (`.x` is hidden)."""
    if "/" in label or "\0" in label or len(label.encode()) > 255 or is_junk(Path(label)):
        raise FormatError(f"label {label!r} cannot be the name of a folder", hint="export as csv or manifest instead")
    return label


FORMAT = Folders()
