"""Whether a record fits the project's task, and what of it counts: shared by import and by evaluation on labeled files.

A record that does not fit, or holds a label that cannot be one, is refused as a whole, because an object whose label
got lost would be learnt as background. A box that no object can have (no area, outside the image) is refused alone,
unless the image would be left without any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenshot.datasets.annotations import Box
from tenshot.datasets.boxes import box_of, clean_label, frame_of, was_clipped
from tenshot.projects.errors import RecordError
from tenshot.projects.status import Task

if TYPE_CHECKING:
    from tenshot.datasets.formats.base import RawRecord
    from tenshot.datasets.images import Header

_SAME = 1e-6
"""Boxes whose edges differ by less (as ratios) are one box."""


@dataclass(frozen=True)
class Judged:
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    labeled: bool = True
    clipped: int = 0
    """Boxes of which part lay outside the image."""
    refused: list[RecordError] = field(default_factory=list)
    """Boxes that were left out."""


def judge(record: RawRecord, header: Header, task: Task) -> Judged:
    """What counts of a record in a project of this task. Raises RecordError where the record is refused as a whole."""
    if not record.labeled:
        return Judged(labeled=False)
    try:
        labels = tuple(dict.fromkeys(clean_label(label) for label in record.labels))
        for box in record.boxes:
            clean_label(box.label)
    except ValueError as error:
        raise record.error(f"{record.name}: {error}") from None
    if task is Task.DETECTION:
        return _judge_boxes(record, header)
    _check_labels(record, labels, task)
    return Judged(labels=labels)


def same_annotations(a: tuple[tuple[str, ...], tuple[Box, ...]], b: tuple[tuple[str, ...], tuple[Box, ...]]) -> bool:
    """Whether two pairs of labels and boxes say the same, in whatever order."""
    if set(a[0]) != set(b[0]) or len(a[1]) != len(b[1]):
        return False
    ordered = (sorted(boxes, key=lambda box: (box.label, box.left, box.top)) for boxes in (a[1], b[1]))
    return all(_same_box(one, other) for one, other in zip(*ordered, strict=True))


def _check_labels(record: RawRecord, labels: tuple[str, ...], task: Task) -> None:
    if record.boxes and not labels:
        raise record.error(
            f"{record.name}: has boxes but no image-level label, which a {task} project needs",
            hint="import it into a project of task detection",
        )
    if task is Task.CLASSIFICATION and not labels:
        raise record.error(f"{record.name}: has no label, expected one")
    if task is Task.CLASSIFICATION and len(labels) > 1:
        raise record.error(
            f"{record.name}: has {len(labels)} labels ({', '.join(labels)}), a classification project takes one",
            hint="import it into a project of task multilabel",
        )


def _judge_boxes(record: RawRecord, header: Header) -> Judged:
    if record.labels and not record.boxes:
        raise record.error(
            f"{record.name}: has the label {record.labels[0]!r} but no box, which a detection project needs",
            hint="import it into a project of task classification or multilabel",
        )
    try:
        wh_px, turned = frame_of(record, header)
    except ValueError as error:
        raise record.error(f"{record.name}: {error}", hint="correct the size that the annotations declare") from None
    kept: list[Box] = []
    refused: list[RecordError] = []
    clipped = 0
    for raw in record.boxes:
        try:
            box = box_of(raw, record, wh_px, header.orientation if turned else 1)
        except ValueError as error:
            refused.append(record.error(f"{record.name}: {error}", line=raw.line))
            continue
        if not any(_same_box(box, other) for other in kept):
            kept.append(box)
            clipped += was_clipped(raw, record, wh_px)
    if refused and not kept:
        raise refused[0]
    return Judged(boxes=tuple(kept), clipped=clipped, refused=refused)


def _same_box(a: Box, b: Box) -> bool:
    return a.label == b.label and all(abs(x - y) <= _SAME for x, y in zip(a.xyxy, b.xyxy, strict=True))
