"""Labeled images read straight from files, without importing them: what a version is evaluated on."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tenshot.datasets import identify
from tenshot.datasets.annotations import Box
from tenshot.datasets.formats.base import RawRecord
from tenshot.datasets.images import RGB, decode, read_bytes, read_header
from tenshot.datasets.judge import judge
from tenshot.projects.errors import DataError, ImageError, RecordError, did_you_mean
from tenshot.projects.status import Task


@dataclass(frozen=True, slots=True)
class LabeledImage:
    name: str
    source: Path | bytes
    width_px: int
    height_px: int
    """Of the upright picture."""
    labels: tuple[str, ...]
    boxes: tuple[Box, ...]
    """Ratios of the upright picture."""
    max_megapixels: float

    def pixels(self) -> RGB:
        """Decode: uint8 [H, W, 3], upright. Raises ImageError for damage that the header does not show."""
        data = self.source if isinstance(self.source, bytes) else read_bytes(self.source)
        return decode(data, name=self.name, max_megapixels=self.max_megapixels)


def read_labeled(
    path: Path,
    task: Task,
    format: str = "auto",
    images: Path | None = None,
    labels: Collection[str] | None = None,
    *,
    max_megapixels: float = 100.0,
) -> Iterator[LabeledImage | DataError]:
    """The labeled images of a file or folder in its order, judged as import does; what is bad comes as its error.

    With `labels` (what a version knows), an image with any other label is refused. Images that nobody has labeled are
    left out. A bad box comes as an error before its image. Raises UnknownNameError, FormatError.
    """
    for record in identify.choose(path, format).read(path, images):
        if isinstance(record, RecordError):
            yield record
        elif record.labeled:
            for item in _one(record, task, max_megapixels):
                yield item if isinstance(item, DataError) else _known(item, record, labels)


def _known(image: LabeledImage, record: RawRecord, labels: Collection[str] | None) -> LabeledImage | RecordError:
    unknown = (
        {*image.labels, *(box.label for box in image.boxes)}.difference(labels or ()) if labels is not None else ()
    )
    for label in sorted(unknown):
        known = ", ".join(sorted(labels or ()))
        reason = f"{image.name}: label {label!r} is not one of {known}"
        return record.error(reason, hint=did_you_mean(label, labels or ()))
    return image


def _one(record: RawRecord, task: Task, max_megapixels: float) -> Iterator[LabeledImage | DataError]:
    try:
        if isinstance(record.source, bytes):
            data, name = record.source, record.name
        else:
            data, name = read_bytes(record.source), str(record.source)
        header = read_header(data, name=name, max_megapixels=max_megapixels)
        judged = judge(record, header, task)
    except (ImageError, RecordError) as error:
        yield error
        return
    yield from judged.refused
    yield LabeledImage(record.name, record.source, *header.upright_wh_px, judged.labels, judged.boxes, max_megapixels)
