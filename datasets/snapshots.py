"""The entries of a dataset version: a JSON Lines file named by its own sha256, sorted by image id.

The same entries give the same file, in whatever order they come, so that "nothing changed" is a comparison of names.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.datasets.annotations import Entry, Split
from tenshot.projects.errors import NotFoundError

if TYPE_CHECKING:
    from tenshot.projects.records import DatasetVersion
    from tenshot.projects.workspace import Workspace


def write(workspace: Workspace, entries: Iterable[Entry]) -> tuple[str, dict[str, Any]]:
    """Store a snapshot; returns its sha256 (hex) and its stats as DatasetVersion.stats shows them.

    Entries are plain records of a few hundred bytes; they are sorted in memory, pixels are never touched.
    """
    ordered = sorted(entries, key=lambda entry: entry.image)
    digest, stats = hashlib.sha256(), _Stats()
    workspace.snapshots.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=workspace.snapshots, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for entry in ordered:
                line = _line(entry)
                digest.update(line)
                stats.add(entry)
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(_path(workspace, digest.hexdigest()))
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return digest.hexdigest(), stats.document()


def entries(workspace: Workspace, dataset_version: DatasetVersion, *, split: Split | None = None) -> Iterator[Entry]:
    """The entries of a dataset version in order of their image id, read line by line. Raises NotFoundError."""
    path = _path(workspace, dataset_version.snapshot_sha256)
    try:
        with path.open("rb") as file:
            for line in file:
                entry = Entry.from_json(json.loads(line))
                if split is None or entry.split == split:
                    yield entry
    except FileNotFoundError:
        raise NotFoundError(
            f"the entries of dataset version {dataset_version.number} are missing: {path}",
            hint="restore the file from a backup, or import the data again",
        ) from None


def labels(workspace: Workspace, dataset_version: DatasetVersion, *, split: Split | None = None) -> list[str]:
    """All label names of images and boxes, sorted."""
    found: set[str] = set()
    for entry in entries(workspace, dataset_version, split=split):
        found.update(entry.labels, (box.label for box in entry.boxes))
    return sorted(found)


def _path(workspace: Workspace, sha256: str) -> Path:
    return workspace.snapshots / f"{sha256}.jsonl"


def _line(entry: Entry) -> bytes:
    return json.dumps(entry.to_json(), ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n"


class _Stats:
    """Images and labels per split; of a label in boxes, the number of boxes."""

    def __init__(self) -> None:
        self.images: Counter[Split] = Counter()
        self.labels: dict[Split, Counter[str]] = {"train": Counter(), "test": Counter()}

    def add(self, entry: Entry) -> None:
        self.images[entry.split] += 1
        self.labels[entry.split].update(entry.labels)
        self.labels[entry.split].update(box.label for box in entry.boxes)

    def document(self) -> dict[str, Any]:
        return {
            split: {"images": self.images[split], "labels": dict(sorted(counts.items()))}
            for split, counts in self.labels.items()
        }
