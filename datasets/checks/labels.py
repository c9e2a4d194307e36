"""Labels that only the test split has, and labels that are written in several ways."""

from __future__ import annotations

from collections.abc import Iterator

from tenshot.datasets.findings import Finding, Inspection, finding, label_counts


def check(found: Inspection) -> Iterator[Finding]:
    counts = label_counts(found.entries)
    only = [label for label, splits in counts.items() if splits["test"] and not splits["train"]]
    if only:
        message = f"{len(only)} labels occur only in the test split, where they can only count as mistakes"
        yield finding("error", "unknown-test-label", message, "add training images of them", only)
    spellings: dict[str, list[str]] = {}
    for label in counts:
        spellings.setdefault("".join(c for c in label.casefold() if c.isalnum()) or label, []).append(label)
    twice = [" / ".join(labels) for labels in spellings.values() if len(labels) > 1]
    if twice:
        message = f"{len(twice)} labels are written in several ways"
        yield finding("warning", "spelling", message, "use one spelling, unless they are different things", twice)
