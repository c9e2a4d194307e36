"""A dataset version plus an import, as a pure function: what is new, what is known, what contradicts.

Images are the same if their stored bytes are; another picture under a known name is another image. Of the same image:

- same split, same labels → a duplicate, skipped;
- same split, other labels → the newer one replaces the older if the dataset knows the image by the same file name
  (the user corrected a label; the folder above may have changed with it) or nobody had labeled it; else it is refused,
  as are two opinions within one import;
- other split → refused: a test image that was trained on proves nothing. Within one import the training image stays.

A test image with a label that no training image has is refused, because it can only count as a mistake. (Not while
there are no training images at all: the test set may come first.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tenshot.datasets.annotations import Box, Entry
from tenshot.datasets.judge import same_annotations
from tenshot.projects.errors import RecordError, did_you_mean


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that wants in, and where it stood."""

    entry: Entry
    file: str
    line: int | None

    def error(self, reason: str, hint: str = "") -> RecordError:
        return RecordError(self.file, self.line, f"{self.entry.name}: {reason}", hint=hint)


@dataclass
class Merged:
    entries: dict[str, Entry]
    """By image id."""
    imported: dict[str, Candidate] = field(default_factory=dict)
    """Those of this import that are new or replace an older one, by image id."""
    duplicates: int = 0
    refused: list[RecordError] = field(default_factory=list)


def merge(base: Iterable[Entry], candidates: Iterable[Candidate]) -> Merged:
    """Put an import on top of a dataset version."""
    before = {entry.image: entry for entry in base}
    merged = Merged(dict(before))
    for candidate in sorted(candidates, key=lambda candidate: candidate.entry.split != "train"):
        _take(merged, candidate)
    _refuse_unknown_labels(merged, before)
    return merged


def _take(merged: Merged, candidate: Candidate) -> None:
    entry = candidate.entry
    known = merged.entries.get(entry.image)
    if known is None:
        _put(merged, candidate)
    elif known.split != entry.split:
        reason = f"the same image is already in the {known.split} split (as {known.name}); in both it would leak"
        merged.refused.append(candidate.error(reason, "keep it in one split"))
    elif not entry.labeled or (known.labeled and same_annotations(_said(known), _said(entry))):
        merged.duplicates += 1
    elif known.labeled and entry.image in merged.imported:
        first = merged.imported[entry.image]
        where = first.file if first.line is None else f"{first.file}:{first.line}"
        reason = f"the same image has other labels in {where}: {_shown(known)} there, {_shown(entry)} here"
        merged.refused.append(candidate.error(reason, "decide which one is right"))
    elif known.labeled and _base_name(known) != _base_name(entry):
        reason = f"the dataset holds the same image as {known.name} with {_shown(known)}, here it has {_shown(entry)}"
        merged.refused.append(candidate.error(reason, f"to correct its labels, import it under the name {known.name}"))
    else:
        _put(merged, candidate)


def _put(merged: Merged, candidate: Candidate) -> None:
    merged.entries[candidate.entry.image] = candidate.entry
    merged.imported[candidate.entry.image] = candidate


def _refuse_unknown_labels(merged: Merged, before: dict[str, Entry]) -> None:
    train = [entry for entry in merged.entries.values() if entry.split == "train" and entry.labeled]
    known = {label for entry in train for label in _names(entry)}
    if not known:
        return
    for image, candidate in list(merged.imported.items()):
        unknown = [label for label in _names(candidate.entry) if label not in known]
        if candidate.entry.split == "test" and unknown:
            listed = ", ".join(sorted(known)[:10])
            reason = f"no training image has the label {unknown[0]!r}; the training split knows {listed}"
            merged.refused.append(candidate.error(reason, did_you_mean(unknown[0], known)))
            del merged.imported[image]
            if image in before:
                merged.entries[image] = before[image]
            else:
                del merged.entries[image]


def _names(entry: Entry) -> list[str]:
    return [*entry.labels, *(box.label for box in entry.boxes)]


def _said(entry: Entry) -> tuple[tuple[str, ...], tuple[Box, ...]]:
    return entry.labels, entry.boxes


def _base_name(entry: Entry) -> str:
    return PurePosixPath(entry.name).name


def _shown(entry: Entry) -> str:
    if entry.boxes:
        return f"{len(entry.boxes)} boxes"
    return ", ".join(entry.labels) or "no label"
