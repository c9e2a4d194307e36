"""Images that nearly repeat one another: across the splits, within one, and with different labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tenshot.datasets import duplicates
from tenshot.datasets.annotations import Entry
from tenshot.datasets.findings import MAX_EXAMPLES, Finding, Inspection, finding

COPY_CORRELATION = 0.995
"""Of near duplicates, from which on they are one picture, re-encoded, and not two that look much alike."""


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


def check(found: Inspection) -> Iterator[Finding]:
    entries = found.readable
    rows = duplicates.near_rows([found.fingerprints[entry.image] for entry in entries])
    leaks, same, differing = _counted(entries, rows)
    if leaks.count:
        yield finding(
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
        yield finding("warning", "contradiction", message, advice, differing.examples, differing.count)
    if same.count:
        message = f"{same.count} pairs of images in one split are near duplicates, {same.copies} of them copies"
        advice = "they teach less than different pictures; training keeps them in one fold"
        yield finding("info", "near-duplicates", message, advice, same.examples, same.count)


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


def _shown(entry: Entry) -> str:
    return ", ".join(entry.labels) or "no label"
