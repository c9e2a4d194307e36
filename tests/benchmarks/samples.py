"""Few labeled images to learn from and many to measure on, read from where they lie."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tenshot.automl.predictor import RGB
from tenshot.datasets.annotations import Box
from tenshot.datasets.labeled import LabeledImage, read_labeled
from tenshot.projects.errors import DataError, ImageError, UsageError
from tenshot.projects.status import Task


@dataclass(frozen=True)
class Sample:
    path: Path
    labels: tuple[str, ...] = ()
    """One for classification, none for detection."""
    boxes: tuple[Box, ...] = ()

    def pixels(self) -> RGB:
        """Upright RGB."""
        found = cv2.imread(str(self.path), cv2.IMREAD_COLOR)
        if found is None:
            raise ImageError(str(self.path), "cannot be decoded")
        return np.ascontiguousarray(found[..., ::-1])


@dataclass(frozen=True)
class Shots:
    """What one training gets, and the whole test split."""

    name: str
    task: Task
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the training images, sorted."""
        return tuple(sorted({name for s in self.train for name in (*s.labels, *(b.label for b in s.boxes))}))


def read(data: Path, name: str, shots: str, seed: int) -> Shots:
    """The draw `seed` of `shots` from the set `name` below `data`. Raises UsageError for one that is not there."""
    folder = data / name
    try:
        chosen = set(json.loads((folder / "shots.json").read_text("utf-8"))[shots][str(seed)])
    except (OSError, KeyError):
        raise UsageError(
            f"{folder} has no draw {seed} of {shots!r}", hint="name another with ONLY= and SEEDS="
        ) from None
    if (folder / "labels.csv").is_file():
        task, train, test = Task.CLASSIFICATION, list(_labels(folder, "train")), list(_labels(folder, "test"))
    else:
        task, train, test = Task.DETECTION, list(_boxes(folder, "train")), list(_boxes(folder, "test"))
    few = tuple(sample for sample in train if sample.path.name in chosen)
    if len(few) < len(chosen):
        raise DataError(f"{folder / 'shots.json'} names {len(chosen)} images; {len(few)} are in the training split")
    return Shots(f"{name}/{shots}", task, few, tuple(test))


def _labels(folder: Path, split: str) -> Iterator[Sample]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as source:
        for row in csv.DictReader(source):
            if row["split"] == split:
                yield Sample(folder / "images" / row["image"], (row["label"],))


def _boxes(folder: Path, split: str) -> Iterator[Sample]:
    return imported(folder / f"{split}.json", Task.DETECTION, folder / "images")


def imported(path: Path, task: Task, images: Path | None = None) -> Iterator[Sample]:
    """Any labeled folder or file that Tenshot reads, judged as import does: boxes are clipped to the image, and what is
    bad is left out."""
    for item in read_labeled(path, task, images=images):
        if isinstance(item, LabeledImage) and isinstance(item.source, Path):
            yield Sample(item.source, item.labels, item.boxes)


def write_csv(path: Path, shots: Shots) -> None:
    """What `tenshot dataset import` reads: absolute image paths, boxes in ratios, the split of every image."""
    with path.open("w", encoding="utf-8", newline="") as target:
        sheet = csv.writer(target)
        box_columns = ("left", "top", "width", "height") if shots.task is Task.DETECTION else ()
        sheet.writerow(("image", "label", "split", *box_columns))
        for split, samples in (("train", shots.train), ("test", shots.test)):
            for sample in samples:
                sheet.writerows(_rows(sample, split, empty=("",) * len(box_columns)))


def _rows(sample: Sample, split: str, empty: Sequence[str]) -> Iterator[tuple[object, ...]]:
    image = sample.path.absolute()
    for label in sample.labels:
        yield image, label, split
    for box in sample.boxes:
        yield image, box.label, split, box.left, box.top, box.width, box.height
    if not (sample.labels or sample.boxes):
        yield image, "", split, *empty
