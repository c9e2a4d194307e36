"""What in a dataset harms a training, with what to do about it. Each check is a small function over the entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tenshot.datasets import duplicates, snapshots
from tenshot.datasets.annotations import Box, Entry
from tenshot.datasets.duplicates import near_duplicate_groups
from tenshot.projects.status import Task

if TYPE_CHECKING:
    from tenshot.datasets.duplicates import Fingerprint
    from tenshot.datasets.ingest import Progress
    from tenshot.projects.workspace import Workspace

__all__ = ["DatasetCheck", "Finding", "check", "near_duplicate_groups"]

Severity = Literal["error", "warning", "info"]

FEW_IMAGES = 5
"""A label on fewer training images than this can hardly be learnt, nor validated."""
IMBALANCE = 10.0
"""Images of the commonest label over those of the rarest, from which on the rare ones tend to be ignored."""
TINY_RATIO = 0.01
TINY_PX_AT_640 = 8.0
"""A box narrower than the detector's finest stride, when the image's longer side is 640 px, cannot be found."""
GIANT_RATIO = 0.95
SIZE_SPREAD = 4.0
"""Longer side of the largest image over that of the smallest."""
COPY_CORRELATION = 0.995
"""Of near duplicates, from which on they are one picture, re-encoded, and not two that look much alike."""
MAX_EXAMPLES = 10


@dataclass(frozen=True)
class Finding:
    severity: Severity
    code: str
    message: str
    advice: str
    """What to do."""
    examples: list[str] = field(default_factory=list)
    count: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "advice": self.advice,
            "examples": self.examples,
            "count": self.count,
        }


@dataclass
class DatasetCheck:
    project: str
    version: int
    images: dict[str, int]
    """Per split."""
    labels: dict[str, dict[str, int]]
    """Label → split → images that have it (in boxes or as a whole)."""
    findings: list[Finding]
    """Worst first."""

    @property
    def ok(self) -> bool:
        """Nothing found that is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "version": self.version,
            "ok": self.ok,
            "images": self.images,
            "labels": self.labels,
            "findings": [finding.to_json() for finding in self.findings],
        }


def check(
    workspace: Workspace, project: str, *, number: int | None = None, progress: Progress | None = None
) -> DatasetCheck:
    """Look through a dataset version (the newest, if None). Raises ProjectNotFound, DatasetNotFound."""
    task = workspace.store.project(project).task
    version = workspace.store.dataset_version(project, number)
    entries = list(snapshots.entries(workspace, version))
    found, broken = duplicates.fingerprints(workspace, (entry.image for entry in entries), progress)
    findings = [
        *_unreadable(entries, broken),
        *_near_duplicates([entry for entry in entries if entry.image in found], found),
        *_amounts(entries, task),
        *_labels(entries),
        *_boxes(entries),
        *_unlabeled(entries, task),
        *_sizes(entries),
    ]
    order = ("error", "warning", "info")
    return DatasetCheck(
        project,
        version.number,
        {split: sum(entry.split == split for entry in entries) for split in ("train", "test")},
        label_counts(entries),
        sorted(findings, key=lambda finding: order.index(finding.severity)),
    )


def label_counts(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Label → split → images that have it, labels in order of their names."""
    counts: dict[str, dict[str, int]] = {}
    for entry in entries:
        for label in _names(entry):
            counts.setdefault(label, {"train": 0, "test": 0})[entry.split] += 1
    return dict(sorted(counts.items()))


def _unreadable(entries: list[Entry], broken: dict[str, str]) -> Iterator[Finding]:
    bad = [f"{entry.name}: {broken[entry.image]}" for entry in entries if entry.image in broken]
    if bad:
        yield _finding("error", "unreadable", f"{len(bad)} stored images cannot be read", "import them again", bad)


@dataclass
class _Pairs:
    """Near duplicates of one kind: how many, the closest, and the first few by name."""

    count: int = 0
    copies: int = 0
    closest: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, pairs: list[str], correlations: Any, count: int) -> None:
        self.count += count
        self.copies += int((correlations > COPY_CORRELATION).sum())
        self.closest = max(self.closest, float(correlations.max(initial=0.0)))
        self.examples += pairs[: MAX_EXAMPLES - len(self.examples)]


def _near_duplicates(entries: list[Entry], found: Mapping[str, Fingerprint]) -> Iterator[Finding]:
    leaks, same, differing = _counted(entries, duplicates.near_rows([found[entry.image] for entry in entries]))
    if leaks.count:
        yield _finding(
            "error" if leaks.closest > COPY_CORRELATION else "warning",
            "leak",
            f"{leaks.count} pairs of near-duplicate images lie in both splits, so the test scores will be too good",
            "keep pictures of one scene in one split",
            leaks.examples,
            leaks.count,
        )
    if differing.count:
        message = f"{differing.count} pairs of near-duplicate images have different labels"
        advice = "look at both and correct the wrong one"
        yield _finding("warning", "contradiction", message, advice, differing.examples, differing.count)
    if same.count:
        message = f"{same.count} pairs of images in one split are near duplicates, {same.copies} of them copies"
        advice = "they teach less than different pictures; training keeps them in one fold"
        yield _finding("info", "near-duplicates", message, advice, same.examples, same.count)


def _counted(entries: list[Entry], rows: Iterable[duplicates.Row]) -> tuple[_Pairs, _Pairs, _Pairs]:
    """Pairs across the splits, within one, and those within one whose labels differ."""
    leaks, same, differing = _Pairs(), _Pairs(), _Pairs()
    in_test = np.array([entry.split == "test" for entry in entries], bool)
    kinds = {labels: number for number, labels in enumerate(dict.fromkeys(entry.labels for entry in entries))}
    labels = np.array([kinds[entry.labels] for entry in entries], np.int64)
    for row, columns, correlations in rows:
        across = in_test[columns] != in_test[row]
        for pairs, chosen, shown in (
            (leaks, across, lambda entry: entry.split),
            (same, ~across, None),
            (differing, ~across & (labels[columns] != labels[row]), _shown),
        ):
            first = columns[chosen][:MAX_EXAMPLES].tolist()
            named = [_pair_shown(entries[row], entries[other], shown) for other in first]
            pairs.add(named, correlations[chosen], int(chosen.sum()))
    return leaks, same, differing


def _pair_shown(one: Entry, other: Entry, remark: Callable[[Entry], str] | None) -> str:
    return " ~ ".join(f"{entry.name} ({remark(entry)})" if remark else entry.name for entry in (one, other))


def _amounts(entries: list[Entry], task: Task) -> Iterator[Finding]:
    counts = {label: splits["train"] for label, splits in label_counts(entries).items() if splits["train"]}
    if not counts:
        yield _finding("error", "no-training-images", "no training image has a label", "import labeled images", [])
        return
    if task is Task.CLASSIFICATION and len(counts) < 2:
        message = f"all training images have the label {next(iter(counts))!r}"
        yield _finding("error", "one-label", message, "a classifier needs images of at least two labels", [])
    few = [f"{label}: {count}" for label, count in counts.items() if count < FEW_IMAGES]
    if few:
        message = f"{len(few)} labels have fewer than {FEW_IMAGES} training images"
        yield _finding("warning", "few-images", message, "add images of these labels", few)
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] / counts[least] >= IMBALANCE:
        message = f"{most!r} has {counts[most]} training images, {least!r} has {counts[least]}"
        yield _finding("warning", "imbalance", message, "add images of the rare labels", [])
    if not any(entry.split == "test" for entry in entries):
        message = "there is no test split, so only cross-validated scores will be known"
        yield _finding("info", "no-test", message, "import a test set with --split test", [])


def _labels(entries: list[Entry]) -> Iterator[Finding]:
    counts = label_counts(entries)
    only = [label for label, splits in counts.items() if splits["test"] and not splits["train"]]
    if only:
        message = f"{len(only)} labels occur only in the test split, where they can only count as mistakes"
        yield _finding("error", "unknown-test-label", message, "add training images of them", only)
    spellings: dict[str, list[str]] = {}
    for label in counts:
        spellings.setdefault("".join(c for c in label.casefold() if c.isalnum()) or label, []).append(label)
    twice = [" / ".join(labels) for labels in spellings.values() if len(labels) > 1]
    if twice:
        message = f"{len(twice)} labels are written in several ways"
        yield _finding("warning", "spelling", message, "use one spelling, unless they are different things", twice)


def _boxes(entries: list[Entry]) -> Iterator[Finding]:
    boxes = [(entry, box) for entry in entries for box in entry.boxes]
    tiny = [_box_shown(entry, box) for entry, box in boxes if is_tiny(entry, box)]
    if tiny:
        message = (
            f"{len(tiny)} of {len(boxes)} boxes are tiny: under 1 % of a side, or under 8 px with the image at 640"
        )
        yield _finding(
            "warning", "tiny-boxes", message, "cut the images into tiles, or leave out what is so small", tiny
        )
    giant = [_box_shown(e, b) for e, b in boxes if b.width > GIANT_RATIO and b.height > GIANT_RATIO]
    if giant:
        message = f"{len(giant)} of {len(boxes)} boxes fill the whole image"
        yield _finding("warning", "giant-boxes", message, "draw them around the object, or use classification", giant)


def is_tiny(entry: Entry, box: Box) -> bool:
    """Whether a box is too small to be found; see TINY_RATIO and TINY_PX_AT_640."""
    scale = 640 / max(entry.width_px, entry.height_px)
    sides_px = box.width * entry.width_px * scale, box.height * entry.height_px * scale
    return min(box.width, box.height) < TINY_RATIO or min(sides_px) < TINY_PX_AT_640


def _unlabeled(entries: list[Entry], task: Task) -> Iterator[Finding]:
    names = [entry.name for entry in entries if not entry.labeled]
    if names:
        message = f"{len(names)} images are not labeled yet and take no part in training"
        yield _finding("warning", "unlabeled", message, "label them and import again", names)
    empty = [entry.name for entry in entries if entry.labeled and not entry.labels and not entry.boxes]
    if empty and task is not Task.CLASSIFICATION:
        message = f"{len(empty)} images have no label and count as showing nothing of interest"
        yield _finding("info", "negatives", message, "fine, if nothing was overlooked in them", empty)


def _sizes(entries: list[Entry]) -> Iterator[Finding]:
    if not entries:
        return
    ordered = sorted(entries, key=lambda entry: max(entry.width_px, entry.height_px))
    small, large = ordered[0], ordered[-1]
    if max(large.width_px, large.height_px) / max(small.width_px, small.height_px) >= SIZE_SPREAD:
        message = "image sizes differ a lot: " + " to ".join(f"{e.width_px}×{e.height_px} px" for e in (small, large))
        advice = "objects should look alike in size in training and use; scale or tile the large ones"
        yield _finding("info", "sizes", message, advice, [small.name, large.name])


def _finding(
    severity: Severity, code: str, message: str, advice: str, examples: list[str], count: int | None = None
) -> Finding:
    return Finding(severity, code, message, advice, examples[:MAX_EXAMPLES], len(examples) if count is None else count)


def _names(entry: Entry) -> set[str]:
    return {*entry.labels, *(box.label for box in entry.boxes)}


def _shown(entry: Entry) -> str:
    return ", ".join(entry.labels) or "no label"


def _box_shown(entry: Entry, box: Box) -> str:
    return f"{entry.name}: {box.label} {box.width * entry.width_px:.0f}×{box.height * entry.height_px:.0f} px"
