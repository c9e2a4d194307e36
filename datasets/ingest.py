"""Import: labeled files in, one new immutable dataset version out, everything bad refused by name and counted.

Images stream through a few threads, one decoded image each; what stays in memory is one small record an image. A killed
import leaves images in the store that no dataset version speaks of, and nothing else: the version is added last, in one
transaction, and running the import again finds the images already there.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tenshot.datasets import identify, snapshots
from tenshot.datasets.annotations import Entry, Split
from tenshot.datasets.formats.base import RawRecord
from tenshot.datasets.images import ImageStore, read_bytes, read_header
from tenshot.datasets.judge import judge
from tenshot.datasets.merge import Candidate, Merged, merge
from tenshot.projects import clock
from tenshot.projects.errors import (
    DataError,
    DatasetNotFound,
    EmptyDataError,
    IllegalTransition,
    ImageError,
    RecordError,
    StoreError,
)

if TYPE_CHECKING:
    from tenshot.projects.records import DatasetVersion
    from tenshot.projects.status import Task
    from tenshot.projects.workspace import Workspace

SplitChoice = Literal["train", "test", "auto"]
Progress = Callable[[dict[str, Any]], None]
"""Called with `{"done": records so far, "refused": …}`; may raise to stop the import."""

_THREADS = min(4, os.cpu_count() or 1)
_ATTEMPTS = 20
"""Times to put the import on top of a dataset version that somebody else was faster to extend."""


@dataclass(frozen=True)
class Refusal:
    file: str
    line: int | None
    code: str
    message: str
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "line": self.line, "code": self.code, "message": self.message}


@dataclass
class ImportReport:
    project: str
    version: int | None = None
    """The dataset version that now holds the data; None if there is none."""
    created: bool = False
    """Whether that version is new. An import that changes nothing makes none."""
    imported: int = 0
    duplicates: int = 0
    clipped_boxes: int = 0
    refused: list[Refusal] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    train: int = 0
    test: int = 0
    """Images in the dataset version."""
    notices: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "version": self.version,
            "created": self.created,
            "imported": self.imported,
            "duplicates": self.duplicates,
            "clipped_boxes": self.clipped_boxes,
            "refused": [refusal.to_json() for refusal in self.refused],
            "labels": self.labels,
            "train": self.train,
            "test": self.test,
            "notices": self.notices,
        }


@dataclass
class _Gathered:
    candidates: list[Candidate] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    clipped: int = 0
    records: int = 0
    split_given: bool = False


def import_dataset(
    workspace: Workspace,
    project: str,
    path: Path,
    *,
    split: SplitChoice = "auto",
    format: str = "auto",
    images: Path | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import labeled images into a project; see the module's and `merge`'s docstrings for what is refused.

    With `auto`, each image goes where the format says (validation counts as test), and to train where it says nothing:
    of ten images none is to be lost to a test nobody asked for.

    Raises ProjectNotFound, UnknownNameError, FormatError (the whole is not of the format), and EmptyDataError, which
    carries the report as its field `report`, if nothing at all could be imported.
    """
    task = workspace.store.project(project).task
    chosen = identify.choose(path, format)
    gathered = _gather(workspace, chosen.read(path, images), task, split, progress)
    if not gathered.records:
        raise EmptyDataError(f"{path} holds no images (read as {chosen.name})", hint="check the path and the format")
    merged, version, created = _commit(workspace, project, gathered.candidates, str(path), len(gathered.refused))
    report = _report(project, gathered, merged, version, created)
    if split == "auto" and not gathered.split_given and not report.test:
        report.notices.append(
            "the data names no splits, so all of it went to train; give a test set with: "
            f"tenshot dataset import {project} PATH --split test"
        )
    if not report.imported and not report.duplicates:
        first = f"the first one: {report.refused[0].message}"
        raise EmptyDataError(
            f"{path}: nothing could be imported, all {len(report.refused)} records were refused",
            hint=first,
            report=report,
        )
    return report


def refusal_of(error: DataError, record: RawRecord | None = None) -> Refusal:
    """How an error is reported: with the file and line of the record, also where only its image is bad."""
    if isinstance(error, RecordError):
        file, line = error.file, error.line
    else:
        file, line = (record.file, record.line) if record else (str(error.fields.get("file", "")), None)
    return Refusal(_utf8(file), line, error.code, _utf8(error.message), error.hint)


def _utf8(text: str) -> str:
    """Names of files are bytes to Linux, and old archives hold names that are not UTF-8: those bytes become `?`."""
    return text.encode("utf-8", "replace").decode()


def _gather(
    workspace: Workspace,
    records: Iterable[RawRecord | RecordError],
    task: Task,
    split: SplitChoice,
    progress: Progress | None,
) -> _Gathered:
    """Read, judge and store all images; results come in the order of the records."""
    store, gathered = ImageStore.of(workspace), _Gathered()
    for record, result in _in_threads(records, lambda record: _admit(record, task, split, store)):
        gathered.records += 1
        if isinstance(result, DataError):
            gathered.refused.append(refusal_of(result, record))
        else:
            candidate, refused, clipped = result
            gathered.candidates.append(candidate)
            gathered.refused += [refusal_of(error, record) for error in refused]
            gathered.clipped += clipped
        gathered.split_given = gathered.split_given or (record is not None and record.split is not None)
        if progress:
            progress({"done": gathered.records, "refused": len(gathered.refused)})
    return gathered


_Admitted = tuple[Candidate, list[RecordError], int]


def _admit(record: RawRecord, task: Task, split: SplitChoice, store: ImageStore) -> _Admitted | DataError:
    try:
        if isinstance(record.source, bytes):
            data, name = record.source, record.name
        else:
            data, name = read_bytes(record.source), str(record.source)
        header = read_header(data, name=name, max_megapixels=store.max_megapixels)
        judged = judge(record, header, task)  # before it is stored, so that what is refused takes no space
        stored = store.add(data, name)
    except (ImageError, RecordError) as error:
        return error
    where: Split = (record.split or "train") if split == "auto" else split
    entry = Entry(
        stored.sha256,
        _utf8(record.name),
        stored.width_px,
        stored.height_px,
        where,
        judged.labels,
        judged.boxes,
        judged.labeled,
    )
    return Candidate(entry, record.file, record.line), judged.refused, judged.clipped


def _in_threads(
    records: Iterable[RawRecord | RecordError], work: Callable[[RawRecord], _Admitted | DataError]
) -> Iterator[tuple[RawRecord | None, _Admitted | DataError]]:
    """Results in order, with a bounded number of records under way (Executor.map would queue all of them)."""
    waiting: deque[tuple[RawRecord | None, Future[_Admitted | DataError] | RecordError]] = deque()

    def first() -> tuple[RawRecord | None, _Admitted | DataError]:
        record, result = waiting.popleft()
        return record, result if isinstance(result, RecordError) else result.result()

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="import") as pool:
        try:
            for record in records:
                if isinstance(record, RecordError):
                    waiting.append((None, record))
                else:
                    waiting.append((record, pool.submit(work, record)))
                if len(waiting) > 2 * _THREADS:
                    yield first()
            while waiting:
                yield first()
        finally:
            pool.shutdown(cancel_futures=True)


def _commit(
    workspace: Workspace, project: str, candidates: list[Candidate], source: str, refused: int
) -> tuple[Merged, DatasetVersion | None, bool]:
    """Add the next dataset version; again on top of a newer one if somebody else was faster."""
    for _ in range(_ATTEMPTS):
        base = _newest(workspace, project)
        merged = merge(snapshots.entries(workspace, base) if base else (), candidates)
        if not merged.imported:
            return merged, base, False
        sha256, stats = snapshots.write(workspace, merged.entries.values())
        if base and base.snapshot_sha256 == sha256:
            return merged, base, False
        stats["refused"] = refused + len(merged.refused)
        try:
            version = workspace.store.add_dataset_version(
                project,
                snapshot_sha256=sha256,
                parent=base.number if base else None,
                source=source,
                stats=stats,
                at=clock.now(),
            )
        except IllegalTransition:
            continue
        return merged, version, True
    raise StoreError(f"the dataset of {project!r} changed {_ATTEMPTS} times while it was written", hint="import again")


def _newest(workspace: Workspace, project: str) -> DatasetVersion | None:
    try:
        return workspace.store.dataset_version(project)
    except DatasetNotFound:
        return None


def _report(
    project: str, gathered: _Gathered, merged: Merged, version: DatasetVersion | None, created: bool
) -> ImportReport:
    splits: Counter[str] = Counter(entry.split for entry in merged.entries.values())
    names = {name for e in merged.entries.values() for name in (*e.labels, *(box.label for box in e.boxes))}
    return ImportReport(
        project,
        version.number if version else None,
        created,
        len(merged.imported),
        merged.duplicates,
        gathered.clipped,
        gathered.refused + [refusal_of(error) for error in merged.refused],
        sorted(names),
        splits["train"],
        splits["test"],
    )
